"""Which models there are, and whose answer counts: what the gate and every lane know of a job's models.

Both keep a `Roles` and apply the same operations to it, so they agree on all that operations decide.
What only a lane can know (a version that is retained, a model that failed) is decided there.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

import msgspec
from msgspec import Struct

from events.messages import ControlPayload, Rejected
from events.reasons import Reason

Role = Literal["champion", "challenger", "shadow"]

# A split's weights are percent; sums of decimal fractions are off by less than this.
_TOTAL = 100.0
_OFF = 1e-6


class Roles(Struct):
    """Roles of all deployed models.

    Attributes
    ----------
    roles : dict
        Name -> role, in the order in which they were deployed.
    former : list of str
        Deployed models that were champion, the last one at the end.
    split : dict or None
        Name -> percent of the transactions that it answers; None: the champion answers all.
    suspended : list of str
        Taken out of serving, as they kept failing.
    retired : list of str
        Names that are no longer deployed, and that the configuration does not bring back.
    filed : dict
        Name -> role, as the configuration had them when it was last followed.
    expires : dict
        Name -> event time in ms at which it retires.
    """

    roles: dict[str, Role] = {}
    former: list[str] = []
    split: dict[str, float] | None = None
    suspended: list[str] = []
    retired: list[str] = []
    filed: dict[str, Role] = {}
    expires: dict[str, int] = {}

    @property
    def champion(self) -> str | None:
        """The model that answers where no split says otherwise."""
        return next((name for name, role in self.roles.items() if role == "champion"), None)

    def serving(self, id: str) -> str | None:
        """The model whose answer counts for a transaction; None where there is none.

        With a split, by the SHA-256 of its id: the first eight bytes as a number from 0 to 100, and
        the weights laid end to end in the order of the message.

        Examples
        --------
        >>> Roles({"old": "champion", "new": "challenger"}, split={"old": 95, "new": 5}).serving("t1")
        'old'
        """
        if self.split is not None:
            place = int.from_bytes(sha256(id.encode()).digest()[:8]) / 2**64 * _TOTAL
            for name, weight in self.split.items():
                place -= weight
                if place < 0:
                    return name if name not in self.suspended else self.champion
        return self.champion

    def follow(self, filed: Mapping[str, Role]) -> list[str]:
        """Take over what the configuration has changed since it was last followed; names new to it.

        Roles that messages have changed since stay, unless the configuration has changed them too.
        """
        new = [name for name in filed if name not in self.roles and name not in self.retired]
        changed = {
            name: role
            for name, role in filed.items()
            if name in new or (name in self.roles and self.filed.get(name) != role)
        }
        # What the configuration names first stays in front of what is only in state.
        in_front: dict[str, Role] = dict.fromkeys(new, "challenger")
        self.roles = {**in_front, **self.roles}
        crowned = next((name for name, role in changed.items() if role == "champion"), None)
        if crowned is not None and crowned != self.champion:
            self._dethrone()
            self.split = None
        for name, role in changed.items():
            self.roles[name] = role
            self._tidy(name)
        self.filed = dict(filed)
        return new

    def refusal(self, payload: ControlPayload) -> Rejected | None:
        """Why this operation cannot be done as things are; None if it can."""
        op, name = payload.op, payload.model
        if op == "deploy":
            if name in self.roles:
                return Rejected(
                    Reason.ALREADY_DEPLOYED, f"{name} is deployed as {self.roles[name]}"
                )
            return None
        if name not in self.roles:
            return Rejected(Reason.UNKNOWN_MODEL, f"{name} is not deployed; {self._deployed()}")
        if op == "promote" and self.roles[name] == "champion":
            return Rejected(Reason.NOT_APPLICABLE, f"{name} is champion")
        if op == "split":
            assert isinstance(payload.weights, dict), "read_control sees to it"
            return self._bad_split(payload.weights)
        return None

    def _deployed(self) -> str:
        return f"there are {', '.join(self.roles)}" if self.roles else "there is none"

    def _bad_split(self, weights: dict[str, float]) -> Rejected | None:
        for name in weights:
            role = self.roles.get(name)
            if role is None:
                return Rejected(Reason.UNKNOWN_MODEL, f"{name} is not deployed; {self._deployed()}")
            if role == "shadow":
                return Rejected(Reason.BAD_SPLIT, f"{name} is a shadow, which answers nobody")
        total = sum(weights.values())
        if abs(total - _TOTAL) > _OFF:
            return Rejected(Reason.BAD_SPLIT, f"the weights sum to {total:g} instead of 100")
        return None

    def expired(self, time: int) -> list[str]:
        """Models whose time is over at event time `time`, ms."""
        return [name for name, until in self.expires.items() if time >= until]

    # What operations do

    def deploy(self, name: str, role: Role | None, expires_at: int | None = None) -> Role:
        """A model is there; without a role it is a challenger, or champion where there is none."""
        role = role or ("challenger" if self.champion else "champion")
        if role == "champion":
            self._dethrone()
            self.split = None
        self.roles[name] = role
        if name in self.retired:
            self.retired.remove(name)
        if expires_at is not None:
            self.expires[name] = expires_at
        return role

    def retire(self, name: str) -> None:
        """It goes; where it was champion the former one is again, and a split with it ends."""
        was_champion = self.roles.pop(name) == "champion"
        self.expires.pop(name, None)
        if name in self.former:
            self.former.remove(name)
        if name in self.suspended:
            self.suspended.remove(name)
        if self.split is not None and name in self.split:
            self.split = None
        self.retired.append(name)
        if was_champion and self.former:
            self._crown(self._heir() or self.former[-1])

    def promote(self, name: str) -> None:
        """It is champion, the one before a challenger; a split ends."""
        self._dethrone()
        self.split = None
        self._crown(name)

    def suspend(self, name: str) -> str | None:
        """Take a model out of serving: who answers instead; None where nobody can, and it stays."""
        champion = self.champion
        if name == champion:
            instead = self._heir()
            if instead is not None:
                self.roles[name] = "challenger"
                self._crown(instead)
        else:
            instead = champion
        if instead is not None:
            self.suspended.append(name)
        return instead

    def _heir(self) -> str | None:
        """The last champion before this one that is fit to be it again."""
        fit = (name for name in reversed(self.former) if name not in self.suspended)
        return next(fit, None)

    def _crown(self, name: str) -> None:
        self.roles[name] = "champion"
        self._tidy(name)

    def _dethrone(self) -> None:
        before = self.champion
        if before is not None:
            self.roles[before] = "challenger"
            self.former.append(before)

    def _tidy(self, name: str) -> None:
        """It has been given a role: what does not go with that ends."""
        role = self.roles[name]
        if name in self.suspended:
            self.suspended.remove(name)
        if role != "challenger" and name in self.former:
            self.former.remove(name)
        if role == "shadow" and self.split is not None and name in self.split:
            self.split = None

    def apply(self, payload: ControlPayload) -> None:
        """What an operation that was not refused changes here."""
        op, name = payload.op, payload.model
        if op == "deploy":
            expires = payload.expires_at
            role = payload.role
            self.deploy(
                name,
                role if isinstance(role, str) else None,
                expires if isinstance(expires, int) else None,
            )
        elif op == "retire":
            self.retire(name)
        elif op == "promote":
            self.promote(name)
        elif op == "split":
            assert isinstance(payload.weights, dict), "read_control sees to it"
            self.split = dict(payload.weights)
        elif op == "unfreeze" and name in self.suspended:
            self.suspended.remove(name)

    def plain(self) -> dict[str, Any]:
        """As it stands in state."""
        return msgspec.to_builtins(self)

    @staticmethod
    def of_plain(stored: dict[str, Any]) -> "Roles":
        """From what `plain` gave."""
        return msgspec.convert(stored, Roles)
