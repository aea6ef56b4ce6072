"""Which methods an address takes: the framework names those of the first route that fits, and there may be two."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.routing import APIRoute

from service.edge.root_path import first_part


class Methods:
    def __init__(self, routers: Iterable[APIRouter]) -> None:
        self._routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]

    @property
    def first_parts(self) -> frozenset[str]:
        """What the addresses begin with: ``v1`` of ``/v1/jobs``."""
        return frozenset(first_part(route.path) for route in self._routes)

    def has(self, path: str) -> bool:
        """Whether it is an address of one."""
        return any(route.path_regex.match(path) for route in self._routes)

    def allowed(self, path: str) -> str:
        """The value of ``Allow``."""
        fitting = (route.methods or () for route in self._routes if route.path_regex.match(path))
        return ", ".join(sorted({method for methods in fitting for method in methods}))
