"""A channel that keeps its pages in memory, and answers as a test wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.alerting.channels import Page, SendResult
from monitor.domain.vocabulary import PageChannel

if TYPE_CHECKING:
    from collections.abc import Callable


def _accept(_page: Page) -> SendResult:
    return SendResult.accept()


class MemoryChannel:
    """Takes the place of a channel, and answers as told."""

    def __init__(
        self, name: PageChannel = PageChannel.PAGERDUTY, answer: Callable[[Page], SendResult] = _accept
    ) -> None:
        self._name = name
        self.answer = answer
        self.attempts: list[Page] = []
        """Every page that was tried, in order."""
        self.accepted: list[Page] = []
        """The pages that were accepted, in order."""

    @property
    def name(self) -> PageChannel:
        """The channel in whose place it stands."""
        return self._name

    async def send(self, page: Page) -> SendResult:
        """Answer as told, and remember."""
        self.attempts.append(page)
        result = self.answer(page)
        if result.accepted:
            self.accepted.append(page)
        return result
