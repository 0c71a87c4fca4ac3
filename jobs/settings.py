"""One typed settings object, read from ``TEXTMILL_*`` once at a process's start and passed down."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from jobs.s3uri import is_allowed_prefix
from jobs.tenants import Limits


class Settings(BaseSettings):
    """Everything that may be configured. Each field's environment variable is ``TEXTMILL_`` and its name.

    Raises:
        pydantic.ValidationError: a variable has a value that does not fit.
    """

    model_config = SettingsConfigDict(env_prefix="TEXTMILL_", extra="ignore", frozen=True)

    # --- what outlives a process -----------------------------------------------------------------
    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"), description="Redis that holds the ledger."
    )
    broker_url: SecretStr | None = Field(
        default=None,
        description="Redis for Celery's messages; by default the ledger's server, next logical database.",
    )
    s3_endpoint: str = Field(
        default="http://127.0.0.1:8333", description="URL or host:port of the S3 store."
    )
    s3_access_key: SecretStr = Field(default=SecretStr(""), description="S3 access key.")
    s3_secret_key: SecretStr = Field(default=SecretStr(""), description="S3 secret key.")
    s3_bucket: str = Field(default="textmill", description="Bucket that belongs to Textmill alone.")
    s3_region: str = Field(default="us-east-1", description="S3 region.")
    s3_secure: bool | None = Field(
        default=None, description="TLS to the store; by default as the endpoint's scheme says."
    )
    s3_public_endpoint: str | None = Field(
        default=None,
        description="URL or host:port at which clients reach the store, for presigned URLs; by default s3_endpoint.",
    )
    s3_silence_seconds: float = Field(
        default=10.0, gt=0, description="A store that is silent for longer in an answer is away."
    )
    s3_allowed_prefixes: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma list of s3://bucket/prefix that jobs of tenant `default` may read and write.",
    )
    data_dir: Path = Field(
        default=Path(".textmill"), description="Folder for local state and logs."
    )
    cache_dir: Path | None = Field(
        default=None,
        description="Disk cache of model files; by default `models` in the data folder.",
    )
    cache_max_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Most bytes of model files on disk: those used longest ago go first, none that is in use. "
        "By default they go when the disk is full.",
    )

    # --- limits of what is taken in ------------------------------------------------------------------
    max_request_bytes: int = Field(default=2 << 20, ge=1 << 10, description="Largest JSON body.")
    max_upload_bytes: int = Field(default=50 << 30, ge=1, description="Largest uploaded file.")
    max_row_bytes: int = Field(
        default=1 << 20, ge=1 << 10, description="Largest single row of input."
    )
    max_input_objects: int = Field(
        default=100_000, ge=1, description="Most objects that a prefix or glob may stand for."
    )
    max_expansion: int = Field(
        default=100,
        ge=2,
        description="A compressed input or a Parquet file may grow by this factor (beyond 64 MiB).",
    )

    # --- what a tenant may use, unless its record says otherwise: see docs/howto/tenants.md ----------
    read_rate: float | None = Field(
        default=None, gt=0, description="Calls a second of one tenant that only look."
    )
    write_rate: float | None = Field(
        default=None, gt=0, description="Calls a second of one tenant that change something."
    )
    quota_rows_queued: int | None = Field(
        default=None, ge=0, description="Rows of one tenant that wait to be computed."
    )
    quota_jobs_unfinished: int | None = Field(
        default=None, ge=0, description="Jobs of one tenant that have not ended."
    )
    quota_bytes_stored: int | None = Field(
        default=None,
        ge=0,
        description="Bytes of one tenant's files, jobs and schedules in the store.",
    )
    quota_device_seconds_per_day: float | None = Field(
        default=None, ge=0, description="Device-seconds of one tenant in a day of UTC."
    )

    # --- shards and leases ------------------------------------------------------------------------
    shard_seconds: float = Field(
        default=10.0, gt=0, description="Device time that a shard should take."
    )
    shard_max_rows: int = Field(default=50_000, ge=1, description="Most rows in a shard.")
    shard_max_bytes: int = Field(default=64 << 20, ge=1 << 10, description="Most bytes in a shard.")
    lease_seconds: float = Field(
        default=10.0, gt=0, description="A lease not renewed for this long is lost."
    )
    slice_seconds: float = Field(
        default=60.0, gt=0, description="A worker returns to Celery at the latest after this long."
    )
    stall_seconds: float = Field(
        default=900.0, gt=0, description="A batch that takes longer hangs; its worker ends itself."
    )
    drain_seconds: float = Field(
        default=3.0,
        ge=2.0,
        le=600,
        description="What a worker that is told to stop has for its batch or its checkpoint; each stop takes as long.",
    )
    sweep_seconds: float = Field(default=1.0, gt=0, description="Time between two sweeps.")
    output_part_rows: int = Field(
        default=1_000_000,
        ge=1,
        description="Most rows of a part of output that is laid out by date.",
    )
    output_part_bytes: int = Field(
        default=128 << 20,
        ge=1,
        description="Bytes of results, as JSON lines, after which such a part ends.",
    )

    # --- workers and models -------------------------------------------------------------------------
    devices: str = Field(
        default="auto",
        description="`auto`, `cpu`, or a list such as `cuda:0,cuda:1:0,GPU-3f2a`; `cuda:0*2` for two workers, "
        "`cuda:0+cuda:1` for one that trains on both.",
    )
    device: str | None = Field(
        default=None, description="The device of this very worker, as JSON; set by the worker role."
    )
    pulse_dir: Path | None = Field(
        default=None, description="Where a worker's processes show that they live; set by the role."
    )
    hang_seconds: float = Field(
        default=30.0, gt=0, description="A process that shows no life for so long is killed."
    )
    model_cache_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Device memory for models; by default most of what there is.",
    )
    allow_file_models: bool = Field(
        default=False, description="Whether `file:/path` models may be used."
    )
    hf_offline: bool = Field(
        default=False, description="Never ask the Hugging Face hub for anything."
    )
    hf_endpoint: str | None = Field(default=None, description="Another hub of the same protocol.")
    torch_threads: int | None = Field(
        default=None, ge=1, description="CPU threads of a model worker."
    )

    # --- webhooks ---------------------------------------------------------------------------------
    webhook_allow_http: bool = Field(
        default=False, description="Whether webhooks may go to http:// too."
    )
    webhook_allowed_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma list of networks that are not public and that webhooks may go to, such as 10.1.0.0/16.",
    )
    webhook_threads: int = Field(
        default=8, ge=1, le=256, description="Deliveries that a scheduler attempts at once."
    )
    webhook_timeout_seconds: float = Field(
        default=10.0, gt=0, le=60, description="Time that one attempt may take, all in all."
    )
    webhook_retry_seconds: float = Field(
        default=5.0, gt=0, description="First pause after an attempt failed; each next one doubles."
    )
    webhook_retry_max_seconds: float = Field(
        default=3600.0, gt=0, description="Longest pause between two attempts."
    )
    webhook_give_up_seconds: float = Field(
        default=86_400.0, gt=0, description="A delivery that did not succeed in this time failed."
    )

    # --- roles -----------------------------------------------------------------------------------
    host: str = Field(default="127.0.0.1", description="Address that the API binds.")
    port: int = Field(
        default=8080, ge=0, le=65535, description="Port of the API; 0 picks a free one."
    )
    api_processes: int = Field(default=1, ge=1, description="Processes that serve the API.")
    api_connections: int = Field(
        default=2_000,
        ge=10,
        description="Connections that each API process serves at once; further ones wait to be taken.",
    )
    api_body_silence_seconds: float = Field(
        default=30.0, gt=0, description="A request's body that pauses for longer is given up."
    )
    tls_certfile: Path | None = Field(
        default=None,
        description="Certificate chain (PEM) with which the API serves HTTPS; needs `tls_keyfile`.",
    )
    tls_keyfile: Path | None = Field(
        default=None, validate_default=True, description="Its private key (PEM)."
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma list of addresses or networks whose X-Forwarded-For and -Proto are believed.",
    )
    metrics_token: SecretStr | None = Field(
        default=None,
        description="Bearer token that reads /metrics; without one only this host may read it.",
    )
    worker_nice: int = Field(
        default=0,
        ge=0,
        le=19,
        description="How far workers and schedulers stand back for other processes of their host, as nice(1) counts, "
        "those that compute by 5 more; 0: not at all. `up` takes 10.",
    )
    control_processes: int = Field(default=2, ge=1, description="Processes that plan and finalize.")
    log_level: str = Field(default="info", description="debug, info, warning or error.")
    log_json: bool = Field(default=False, description="One JSON object a log line, for collectors.")

    @field_validator("s3_public_endpoint")
    @classmethod
    def _plain_host(cls, value: str | None) -> str | None:
        # It becomes part of what is signed: a path or a user in it would make every URL worthless.
        if value is not None and not re.fullmatch(r"(https?://)?[A-Za-z0-9.:\[\]_-]+/?", value):
            raise ValueError("expected https://host, http://host:port or host:port")
        return value

    @field_validator(
        "s3_allowed_prefixes", "webhook_allowed_networks", "trusted_proxies", mode="before"
    )
    @classmethod
    def _comma_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value

    @field_validator("s3_allowed_prefixes")
    @classmethod
    def _s3_uris(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            if not is_allowed_prefix(item):
                raise ValueError(f"expected s3://bucket/ or s3://bucket/prefix, found {item!r}")
        return value

    @field_validator("webhook_allowed_networks", "trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            try:
                ip_network(item)
            except ValueError:
                raise ValueError(f"expected an address or a network, found {item!r}") from None
        return value

    @field_validator("tls_keyfile")
    @classmethod
    def _both_files(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (value is None) != (info.data.get("tls_certfile") is None):
            raise ValueError("expected tls_certfile and tls_keyfile, or neither")
        return value

    @property
    def webhook_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Networks that webhooks may go to although they are not public."""
        return tuple(ip_network(item) for item in self.webhook_allowed_networks)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Settings as a process with this environment would read them, whatever this one's is.

        Raises:
            pydantic.ValidationError: a variable has a value that does not fit.
        """
        prefix = str(cls.model_config["env_prefix"])
        known = {name: environment.get(prefix + name.upper()) for name in cls.model_fields}
        defaults = {name: None for name, value in known.items() if value is None}
        given = {name: value for name, value in known.items() if value is not None}
        return cls(**{name: cls.model_fields[name].get_default() for name in defaults} | given)

    @property
    def limits(self) -> Limits:
        """What a tenant may use that has no limits of its own."""
        return Limits(
            read_rate=self.read_rate,
            write_rate=self.write_rate,
            rows_queued=self.quota_rows_queued,
            jobs_unfinished=self.quota_jobs_unfinished,
            bytes_stored=self.quota_bytes_stored,
            device_seconds_per_day=self.quota_device_seconds_per_day,
        )

    @property
    def celery_broker_url(self) -> str:
        """Where Celery's messages go: as configured, else the ledger's server with the database number + 1."""
        if self.broker_url is not None:
            return self.broker_url.get_secret_value()
        parts = urlsplit(self.redis_url.get_secret_value())
        database = int(parts.path.strip("/") or 0) + 1
        return parts._replace(path=f"/{database}").geturl()

    @property
    def s3_host(self) -> tuple[str, bool]:
        """The store as ``host:port`` and whether to use TLS."""
        host, by_scheme = _host(self.s3_endpoint)
        return host, by_scheme if self.s3_secure is None else self.s3_secure

    @property
    def s3_public_host(self) -> tuple[str, bool]:
        """The same as clients reach it."""
        if self.s3_public_endpoint is None:
            return self.s3_host
        return _host(self.s3_public_endpoint)

    @property
    def api_scheme(self) -> str:
        """``https`` where the API serves TLS by itself, else ``http``."""
        return "http" if self.tls_certfile is None else "https"

    @property
    def model_cache_dir(self) -> Path:
        """Where downloaded and imported models are kept on this host."""
        return self.cache_dir or self.data_dir / "models"

    def masked(self) -> dict[str, Any]:
        """All settings as JSON values, secrets masked; passwords inside URLs too."""
        shown = self.model_dump(mode="json")
        for name in ("redis_url", "broker_url"):
            secret: SecretStr | None = getattr(self, name)
            shown[name] = _mask_url(secret.get_secret_value()) if secret else None
        for name in ("s3_endpoint", "s3_public_endpoint", "hf_endpoint"):
            shown[name] = _mask_url(shown[name]) if shown[name] else None
        return shown


#: Ends of the names of variables that hold what a process without business with the outside should not know.
_SECRET_ENDINGS = ("_TOKEN", "_KEY", "_KEY_ID", "_SECRET", "_PASSWORD", "_CREDENTIALS")


def environment_without_secrets() -> dict[str, str]:
    """This process's environment without Textmill's settings, and without what looks like anybody's secret."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("TEXTMILL_") and not name.upper().endswith(_SECRET_ENDINGS)
    }


def _host(endpoint: str) -> tuple[str, bool]:
    """An endpoint as ``host:port`` and whether its scheme asks for TLS, as one without a scheme does."""
    scheme, separator, rest = endpoint.partition("://")
    return (rest if separator else scheme).rstrip("/"), not separator or scheme == "https"


def _mask_url(url: str) -> str:
    # By pattern and greedily, for a password with a stray '/' or '@' makes a URL that no parser takes apart right.
    url = re.sub(r"://([^:@/]*):.*@", r"://\1:***@", url)
    return re.sub(r"(?i)([?&]password=)[^&#]*", r"\1***", url)
