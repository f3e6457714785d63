"""Tables, migrations, the writer and named queries. The only SQL in the house."""
