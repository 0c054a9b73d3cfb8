"""One session's guard: whether it is on, which clock a URL's server keeps, and what time to sign as of."""

from __future__ import annotations

from typing import Any, NamedTuple

from skewguard._fail_open import fail_open
from skewguard._warnings import warn_once
from skewguard.config import OFF_SWITCH_PROFILE_KEY, Switch, as_boolean
from skewguard.signing.domains import find_domain, origin, virtual_bucket
from skewguard.timekeeping.domain import Domain
from skewguard.timekeeping.evidence import Grade
from skewguard.timekeeping.timekeeper import Timekeeper

_MAX_ROUTES = 1024


class Route(NamedTuple):
    """Where requests go.

    Attributes:
        prefix: The beginning of their URLs: an origin and a slash.
        domain: The time domain of the server there.
    """

    prefix: str
    domain: Domain


class Guard:
    """The guard of one session, client or resource.

    Attributes:
        switch: The settings in force.
        keeper: The process's timekeeper.
        last: The route of the last request.
        approved: The settings under which the guard was last found to be on.
    """

    def __init__(self, switch: Switch, keeper: Timekeeper, session: Any = None) -> None:
        """Describe the guard, which the profile of a botocore session may switch off."""
        self.switch = switch
        self.keeper = keeper
        self.last = Route("\0", keeper.utc)  # no URL begins with that
        self.approved: object = self
        self._routes: dict[str, Route] = {}
        self._session = session  # until its profile is read: a client often outlives its session
        self._profile_off: bool | None = None

    def is_on(self) -> bool:
        """Return whether the guard is on: switched on, and not switched off by the session's profile."""
        settings = self.switch.settings
        if settings is None:
            return False
        if settings is not self.approved:
            session = self._session
            if settings.enabled is None:
                if self._profile_off is None:  # else another thread has read it, and let the session go
                    self._profile_off = _switched_off(session)
                if self._profile_off:
                    return False
                self._session = None
            self.approved = settings
        return True

    def learns(self) -> bool:
        """Return whether answers may teach the time."""
        settings = self.switch.settings
        return settings is not None and settings.learn_from_responses

    def corrects_handed_out(self) -> bool:
        """Return whether signatures that are handed out (presigned URLs, forms, tokens) are corrected too."""
        settings = self.switch.settings
        return settings is not None and settings.correct_presigned

    def handed_out_time(self, url: str, auth_path: str | None) -> int | None:
        """Return the time (ns) to sign something handed out as of, or None for the wall clock."""
        return self.time_without_call(url, auth_path, handed_out=True)

    def time_without_call(self, url: str, auth_path: str | None, *, handed_out: bool) -> int | None:
        """Return the time (ns) to sign as of where no call is recorded, or None for the wall clock."""
        if not self.is_on() or (handed_out and not self.corrects_handed_out()):
            return None
        keeper, (prefix, domain) = self.keeper, self.route(url, auth_path)
        if not handed_out:  # it is sent at once, so the wall clock serves within the deadband
            signed, wall, _ = keeper.signing_time(domain)
            if signed == wall:
                return None
        else:
            self.await_sources(domain)
        signed, wall, _ = keeper.irrevocable_time(domain, prefix)
        return None if signed == wall else signed

    def await_sources(self, domain: Domain) -> None:
        """Wait for sources that may yet tell the time, before something that is handed out is signed."""
        self.keeper.await_sources(domain)

    def route(self, url: str, auth_path: str | None) -> Route:
        """Return where a URL leads, and remember it."""
        start = origin(url)
        found = self._routes.get(start)
        if found is None:
            spec = find_domain(start, virtual_bucket(url, auth_path))
            domain = self.keeper.domain(spec.key, stand_in=spec.stand_in, shared=spec.shared)
            found = Route(f"{start}/", domain)
            if len(self._routes) >= _MAX_ROUTES:
                self._routes = {}
            self._routes[start] = found
        self.last = found
        return found

    def contain(self, route: Route) -> Route:
        """Give a route's server a clock of its own from now on: its answers must not teach UTC, which stands in."""
        start = route.prefix.rstrip("/")
        own = Route(route.prefix, self.keeper.domain(start, stand_in=Grade.PROOF, shared=False))
        self.last = self._routes[start] = own
        return own


def _switched_off(session: Any) -> bool:
    """Return whether a session's profile switches correction off."""
    if session is None:
        return False
    try:
        value = session.get_scoped_config().get(OFF_SWITCH_PROFILE_KEY, False)
    except Exception as error:  # no such profile: botocore will tell the caller itself
        fail_open(error, "the AWS profile could not be read")
        return False
    try:
        return as_boolean(value)
    except ValueError as error:
        warn_once(f"{OFF_SWITCH_PROFILE_KEY!r} in the AWS profile is ignored: {error}")
        return False
