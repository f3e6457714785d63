"""A database file that is moved away under the service: nothing that would be lost is promised."""

from __future__ import annotations

from support.bookings import booking
from support.service import running_service
from support.waiting import wait_until


def test_no_booking_is_taken_once_the_database_file_is_moved_away() -> None:
    with running_service() as service, service.client() as client:
        assert client.post("/v1/bookings", json=booking()).status_code == 201
        service.database_path.rename(service.database_path.with_name("elsewhere.db"))
        wait_until(lambda: client.get("/readyz").status_code == 503, what="unready")
        assert client.post("/v1/bookings", json=booking()).status_code == 503
