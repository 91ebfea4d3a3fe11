"""The network between nodes: it loses, delays, repeats and reorders, and links fail in one direction or both."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec


class Weather(msgspec.Struct):
    """How bad a network is."""

    lost: float = 0.0
    repeated: float = 0.0
    slow: float = 0.0
    slow_s: float = 2.0
    least_s: float = 0.001
    most_s: float = 0.02


class Network:
    """Carries calls from node to node. ``at``: how something is done later."""

    def __init__(self, random: Random, at: Callable[..., None], weather: Weather) -> None:
        self._random = random.random
        self._at = at
        self.weather = weather
        #: The links that are cut, each in one direction.
        self.cut: set[tuple[str, str]] = set()

    def delay_s(self) -> float:
        weather, random = self.weather, self._random
        if weather.slow and random() < weather.slow:
            return random() * weather.slow_s
        return weather.least_s + random() * (weather.most_s - weather.least_s)

    def send(self, sender: str, receiver: str, call: Callable[..., None], *args: Any) -> None:
        """What is on its way when a link is cut still arrives, as with packets in buffers."""
        weather = self.weather
        if (sender, receiver) in self.cut or (weather.lost and self._random() < weather.lost):
            return
        self._at(self.delay_s(), call, *args)
        if weather.repeated and self._random() < weather.repeated:
            self._at(self.delay_s(), call, *args)

    def reaches(self, one: str, other: str) -> bool:
        """Whether two nodes reach each other."""
        return (one, other) not in self.cut and (other, one) not in self.cut
