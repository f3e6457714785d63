"""The pages as HTML, each from values. Pure."""
