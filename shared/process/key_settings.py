"""What a service has to know of keys, and the file of all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from shared.access.key_file import ring_of
from shared.access.keys import KeyRing
from shared.access.watched import Watched, WatchedFileError
from shared.process.audit import Audit, Counts
from shared.process.audit_file import AuditFile
from shared.process.served_settings import ServedSettings
from shared.process.settings import SettingsError, secret

_MIN_PEPPER_CHARS: Final = 32


class KeySettings(ServedSettings):
    """Settings of services that ask their clients for keys."""

    keys_file: str = Field(
        default="",
        description="File of all keys, which `./setup.sh key` writes; read again within a second of a change. "
        "`FLEET_SECURITY=on` needs it.",
    )
    keys_pepper: str = secret("", description="What the keys in that file are hashed with; 32 characters at least.")

    audit_folder: str = Field(
        default="",
        description="Folder of the audit log, of this one process alone: who was refused, who read what. Empty: there is none. "
        "Only with `FLEET_SECURITY=on`.",
    )
    audit_file_bytes: Annotated[int, Field(ge=64 * 1024)] = Field(
        default=16 * 1024 * 1024, description="Bytes of one file of it; then the next one begins."
    )
    audit_files: Annotated[int, Field(ge=2)] = Field(
        default=16, description="Files of it that are kept; beyond, the oldest is removed."
    )

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if self.security == "on" and not self.keys_file:
            raise ValueError("FLEET_SECURITY=on asks clients for keys: keys_file has to name the file that has them")
        if self.security == "on" and len(self.keys_pepper) < _MIN_PEPPER_CHARS:
            raise ValueError(
                f"FLEET_SECURITY=on: keys_pepper has to be what the keys were hashed with, {_MIN_PEPPER_CHARS} characters at least"
            )
        return self

    def open_audit(self, name: str, counts: Counts, now: Callable[[], float]) -> Audit | None:
        """Return what notes acts in the log of that name; None where no keys are asked for, or no folder is named."""
        if self.security != "on" or not self.audit_folder:
            return None
        file = AuditFile(
            Path(self.audit_folder),
            name,
            self.keys_pepper.encode(),
            max_bytes=self.audit_file_bytes,
            max_files=self.audit_files,
        )
        return Audit(file, counts, now)

    def open_keys(self, on_change: Callable[[Watched[KeyRing]], None] | None = None) -> Watched[KeyRing] | None:
        """
        Read the keys; None where none are asked for.

        Args:
            on_change: See `Watched`.

        Raises:
            SettingsError: The file cannot be used.
        """
        if self.security != "on":
            return None
        pepper = self.keys_pepper.encode()
        try:
            return Watched(
                Path(self.keys_file), lambda text: ring_of(text, pepper), what="the key file", on_change=on_change
            )
        except WatchedFileError as exc:
            raise SettingsError(
                f"the settings are wrong:\n  {self.model_config['env_prefix']}KEYS_FILE: {exc}"
            ) from None
