"""The root of the tree of errors: what a failed call tells its caller."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import grpc

_C = grpc.StatusCode


class QuartetError(Exception):
    """A call failed for a reason its caller can understand.

    Attributes:
        code: gRPC status code; a class attribute, the same for a whole branch.
        reason: Name in `quartet.errors.v1.ErrorReason`, without the prefix; a class attribute, empty on branches.
        message: What happened, one sentence for people, no trailing full stop.
        metadata: Facts of the case for programs; keys are lowerCamel or snake_case, values text.
        violations: Field path -> what is wrong with it; sent as google.rpc.BadRequest.
        retry_after: Seconds after which trying again makes sense; sent as google.rpc.RetryInfo. None: nothing said.
        hint: What to do next, naming the command that helps; sent as metadata "hint".
    """

    code: ClassVar[grpc.StatusCode] = _C.INTERNAL
    reason: ClassVar[str] = ""
    default_hint: ClassVar[str] = ""

    def __init_subclass__(cls, *, code: grpc.StatusCode | None = None, hint: str = "") -> None:
        """Take a branch's status code; give a leaf its reason and its usual hint."""
        super().__init_subclass__()
        if code is not None:
            cls.code = code
        else:
            cls.reason = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=A)(?=[A-Z][a-z])", "_", cls.__name__).upper()
            cls.default_hint = hint

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        violations: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        **metadata: str | int,
    ) -> None:
        """Say what happened; keyword arguments that are not named here become metadata."""
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.violations = dict(violations or {})
        self.retry_after = retry_after
        self.metadata = {key: str(value) for key, value in metadata.items()}
