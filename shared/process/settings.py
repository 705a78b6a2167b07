"""
Configuration types that several services share. Each service has one frozen settings class, read once in `__main__`.

Lists and maps are written the way people write them in an environment file: `region-a,region-b` and
`region-a=http://host:8081,region-b=http://host:8083`.

A setting that is a secret, `X`, can be given as a file instead, `X_FILE`: what is in an environment is easier to come by.
"""

import os
import stat
import sys

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import AfterValidator, AliasChoices, AnyHttpUrl, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from shared.process.listeners import ListenError
from shared.process.logs import LogLevel
from shared.wire.regions import Region


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def split_pairs(value: Any, *, names: str = "region", values: str = "URL") -> Any:
    """Take `NAME=VALUE,NAME=VALUE` apart; `names` and `values` are what they are called when something is wrong."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in _split(value)]
    if any(not separator for _, separator, _ in pairs):
        raise ValueError(f"must be written as NAME={values},NAME={values}")
    if len({name for name, _, _ in pairs}) != len(pairs):
        raise ValueError(f"names a {names} twice")
    return {name: url for name, _, url in pairs}


def _split_lists(value: Any) -> Any:
    """Take `NAME=VALUE,NAME=VALUE` apart, where a name may come more than once. A single value is a list of one."""
    if isinstance(value, str):
        found: dict[str, list[Any]] = {}
        for part in _split(value):
            name, url = next(iter(split_pairs(part).items()))
            found.setdefault(name, []).append(url)
        return found
    if isinstance(value, dict):
        return {name: urls if isinstance(urls, list | tuple) else [urls] for name, urls in value.items()}
    return value


RegionList = Annotated[tuple[Region, ...], NoDecode, BeforeValidator(_split)]
RegionUrls = Annotated[dict[Region, AnyHttpUrl], NoDecode, BeforeValidator(split_pairs)]
RegionUrlLists = Annotated[dict[Region, tuple[AnyHttpUrl, ...]], NoDecode, BeforeValidator(_split_lists)]


# Mounted for one container alone, by a way that may know no owners.
SECRETS_OF_A_CONTAINER: Final = Path("/run/secrets")
_SECRET: Final = "secret"  # noqa: S105 - how such a setting is marked


class SettingsError(Exception):
    """The environment makes no sense; the message has a line for each variable that is wrong."""


def secret(default: str, *, alias: str | None = None, description: str) -> Any:
    """Declare a setting that may be given as a file, and that no error message shows."""
    return Field(
        default=default,
        validation_alias=alias,
        repr=False,
        json_schema_extra={_SECRET: True},
        description=description,
    )


def is_secret(field: FieldInfo) -> bool:
    """Tell whether a setting was declared so."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get(_SECRET))


def read_secret(path: Path) -> str:
    """
    Read what a file holds, without the line break at its end.

    Raises:
        ValueError: It cannot be read, others may read it too, or it has more than one line.
    """
    try:
        text = path.read_text()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as exc:
        raise ValueError(f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
    if mode & stat.S_IROTH and not path.is_relative_to(SECRETS_OF_A_CONTAINER):
        raise ValueError(f"every user may read {path}: chmod 600 {path}")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or "\n" in text:
        raise ValueError(f"{path} must hold one line")
    return text


def with_password(url: str, password: str) -> str:
    """Put a password into a URL that names a user; without a password it stays as it is."""
    if not password:
        return url
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:{quote(password, safe='')}@{host}"))


class _SecretFiles(PydanticBaseSettingsSource):
    """What is given as a file."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return a field's value and the name it is known by; see pydantic-settings."""
        settings: type[ServiceSettings] = self.settings_cls  # type: ignore[assignment]
        variable = settings.variable(field_name, field)
        file = os.environ.get(f"{variable}_FILE", "") if is_secret(field) else ""
        if not file:
            return None, field_name, False
        if os.environ.get(variable):
            raise SettingsError(
                f"the settings are wrong:\n  {variable}: is there, and {variable}_FILE too; set one of them"
            )
        try:
            return read_secret(Path(file)), variable if field.validation_alias else field_name, False
        except ValueError as exc:
            raise SettingsError(f"the settings are wrong:\n  {variable}_FILE: {exc}") from None

    def __call__(self) -> dict[str, Any]:
        """Return the values of all fields that have one."""
        found = (self.get_field_value(field, name) for name, field in self.settings_cls.model_fields.items())
        return {key: value for value, key, _ in found if value is not None}


class ServiceSettings(BaseSettings):
    """Settings of every service."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True)

    log_level: LogLevel = Field(
        default="info", description="Least severe log line written: debug, info, warning, error."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Look into files, too, for what is secret."""
        return init_settings, _SecretFiles(settings_cls), env_settings

    @classmethod
    def variables(cls) -> dict[str, FieldInfo]:
        """Return the fields by the environment variables that set them; one with several names by its first."""
        return {cls.variable(name, field): field for name, field in cls.model_fields.items()}

    @classmethod
    def read_from(cls) -> Iterator[str]:
        """Return all variables that are looked for, those that name a file included."""
        for variable, field in cls.variables().items():
            yield variable
            if is_secret(field):
                yield f"{variable}_FILE"

    @classmethod
    def variable(cls, name: str, field: FieldInfo) -> str:
        """Return the environment variable that sets a field."""
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            alias = str(alias.choices[0])
        return str(alias) if alias else f"{cls.model_config['env_prefix']}{name}".upper()

    @classmethod
    def named(cls, *fields: str) -> str:
        """Return the variables that set these fields, as a sentence lists them."""
        *most, last = (cls.variable(field, cls.model_fields[field]) for field in fields)
        return f"{', '.join(most)} and {last}" if most else last

    @classmethod
    def read(cls) -> Self:
        """
        Read the environment.

        Raises:
            SettingsError: A variable is missing or wrong.
        """
        try:
            return cls()
        except ValidationError as exc:
            lines = [cls._explain(error) for error in exc.errors(include_url=False, include_input=False)]
            raise SettingsError("\n".join(["the settings are wrong:", *lines])) from None

    @classmethod
    def _explain(cls, error: ErrorDetails) -> str:
        field, *path = map(str, error["loc"] or ("*",))
        # Settings that are read under a name of their own are reported under it.
        named = field in cls.model_fields or field == "*"
        variable = f"{cls.model_config.get('env_prefix', '')}{field}".upper() if named else cls._given_as(field)
        return "  " + ": ".join([variable, *path, error["msg"]])

    @classmethod
    def _given_as(cls, variable: str) -> str:
        """Return the name under which a variable was given; one that was renamed is read by its old name, too."""
        for field in cls.model_fields.values():
            names = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else ()
            if variable in names:
                return next((str(name) for name in names if str(name) in os.environ), variable)
        return variable


def _usable_endpoint(value: str) -> str:
    if value == "none":
        return value
    if not value.startswith(("http://", "https://")):
        raise ValueError("must be `none`, or a URL like http://collector:4318/v1/traces")
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise ValueError("needs the packages of the extra `otel`: pip install .[otel]")
    return value


class TracedSettings(ServiceSettings):
    """Settings of services that events pass through."""

    otlp_traces_endpoint: Annotated[str, AfterValidator(_usable_endpoint)] = Field(
        default="none",
        validation_alias="APP_OTLP_TRACES_ENDPOINT",
        description="OpenTelemetry collector, OTLP over HTTP, for spans of events that came with a traceparent; `none` makes none.",
    )


def run_main(main: Callable[[], int]) -> NoReturn:
    """Run a service's `main` and exit with its status, 2 when its settings are wrong."""
    try:
        status = main()
    except SettingsError as exc:
        sys.stderr.write(f"{exc}\n")
        status = 2
    except ListenError as exc:
        sys.stderr.write(f"{exc}\n")
        status = 1
    sys.exit(status)
