"""Settings of the service: its limits, its caches, how long it keeps what."""

from __future__ import annotations

from pydantic import Field

from wsigraph.config.runtime import Section


class ServiceConfig(Section):
    """How slides are served and the limits of one client; never part of a hash."""

    database: str | None = Field(
        None,
        pattern=r"^(sqlite|postgresql)(\+[a-z0-9]+)?://",
        description="where jobs are kept: null is SQLite beside the data, else postgresql+psycopg://USER@HOST/NAME",
    )
    database_time_s: float = Field(
        5.0, ge=0.5, le=300.0, description="time for one use of the database, s; beyond it requests get 503"
    )
    tile_px: int = Field(254, ge=64, le=1024, description="side of a Deep Zoom tile, px")
    tile_overlap_px: int = Field(1, ge=0, le=8, description="pixels that neighbouring tiles share on each side, px")
    tile_quality: int = Field(80, ge=20, le=98, description="quality of JPEG tiles, libjpeg's scale")
    tile_cache_mb: float = Field(256.0, ge=1.0, le=65536.0, description="memory for encoded tiles, MB")
    image_store_mb: float = Field(
        2000.0, ge=0.0, le=1e7, description="disk space for thumbnails and the lowest tiles, MB; 0 keeps none"
    )
    iiif_origins: tuple[str, ...] = Field(
        (),
        description="origins whose pages may read images by IIIF, e.g. https://mirador.example.org; '*' is every page",
    )
    slide_processes: int = Field(2, ge=1, le=64, description="processes in which slides are opened")
    slide_memory_gb: float = Field(
        4.0, ge=1.0, le=1024.0, description="address space of such a process, GB; beyond it the request fails"
    )
    slide_time_s: float = Field(
        30.0, gt=0.0, le=3600.0, description="time of one request to such a process, s; beyond it the process is ended"
    )
    decoded_max_mpx: float = Field(
        128.0, ge=1.0, le=1e5, description="most pixels that are decoded for one tile or picture, Mpx"
    )
    slide_max_mpx: float = Field(2e5, ge=1.0, le=1e7, description="most pixels of a slide's finest level, Mpx")
    upload_max_gb: float = Field(20.0, gt=0.0, le=1e5, description="largest slide that may be uploaded, GB")
    upload_part_max_mb: float = Field(64.0, gt=0.0, le=1e5, description="most bytes of one request of an upload, MB")
    uploads_max: int = Field(16, ge=1, le=10000, description="unfinished uploads at a time")
    upload_quota_gb: float = Field(
        500.0, gt=0.0, le=1e6, description="bytes that one user may announce and keep as uploaded slides, GB"
    )
    upload_expire_h: float = Field(
        24.0, gt=0.0, le=1e4, description="an upload without news for this long is removed, h"
    )
    queue_max: int = Field(1000, ge=1, le=1_000_000, description="jobs that may wait or run")
    queue_owner_max: int = Field(200, ge=1, le=1_000_000, description="jobs of one owner that may wait or run")
    jobs_at_once: int = Field(0, ge=0, le=10000, description="jobs handed to workers at a time; 0 is one a worker")
    job_max_mpx: float = Field(
        1e5, ge=1.0, le=1e7, description="most pixels of the finest level of a slide that a job takes, Mpx"
    )
    job_max_h: float = Field(12.0, gt=0.0, le=1e4, description="longest time of one try of a job, h")
    job_memory_gb: float = Field(
        16.0,
        ge=0.0,
        le=65536.0,
        description="memory of the process of a job, GB; beyond it the try fails; 0 is no limit",
    )
    sandbox: bool = Field(
        True,
        description="run jobs in a sandbox that reads the slide and writes the results alone, without network; turn it "
        "off only for plugins that need more, and with slides that you trust",
    )
    claim_s: float = Field(
        10.0, ge=3.0, le=3600.0, description="a job whose service shows no life for this long is taken over, s"
    )
    retention_days: float = Field(30.0, gt=0.0, le=36500.0, description="time that results are kept, days")
    requests_per_s: float = Field(20.0, gt=0.0, le=1e5, description="requests of one client per s, on average")
    requests_burst: int = Field(200, ge=1, le=1_000_000, description="requests of one client at once")
    tiles_per_s: float = Field(300.0, gt=0.0, le=1e6, description="tiles of one client per s, on average")
    tiles_burst: int = Field(3000, ge=1, le=1_000_000, description="tiles of one client at once")
    body_max_kb: float = Field(64.0, gt=0.0, le=65536.0, description="most bytes of a request that is no upload, kB")
    streams_max: int = Field(256, ge=1, le=10000, description="streams of events at a time")
    streams_caller_max: int = Field(16, ge=1, le=10000, description="streams of events of one client at a time")
    requests_at_once: int = Field(
        512, ge=8, le=100_000, description="requests that are handled or wait at a time; others get 503"
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed"
    )
    connections_max: int = Field(1024, ge=8, le=100_000, description="open connections")
    connections_address_max: int = Field(
        256, ge=1, le=100_000, description="open connections of one address; trusted proxies are not counted"
    )
    header_time_s: float = Field(10.0, gt=0.0, le=600.0, description="time to send the header of a request, s")
    body_time_s: float = Field(
        30.0, gt=0.0, le=3600.0, description="time in which a client must send or take the next bytes of a body, s"
    )
    session_h: float = Field(12.0, gt=0.0, le=8760.0, description="time after which a browser must sign in again, h")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://",
        max_length=500,
        description="address of the service as browsers see it, with a slash at its end; OpenID Connect needs it",
    )
    oidc_issuer: str | None = Field(
        None,
        pattern=r"^https?://",
        max_length=500,
        description="issuer of an OpenID Connect provider through which browsers sign in; null is tokens alone",
    )
    oidc_client_id: str = Field("", max_length=500, description="the service's client id at this provider")
    oidc_client_secret_file: str | None = Field(
        None, description="file with the secret of this client; null is a public client, which has PKCE alone"
    )
    oidc_scopes: tuple[str, ...] = Field(("openid", "profile"), description="scopes that are asked for")
    oidc_groups_claim: str = Field("groups", min_length=1, description="claim with the groups of an account")
    oidc_name_claim: str = Field(
        "sub", min_length=1, description="claim that names an account in jobs and the audit log; never reassigned"
    )
    oidc_roles: tuple[str, ...] = Field(
        (), description="GROUP=ROLE with a role of read, run or admin; accounts without such a group are refused"
    )
    webhook_hosts: tuple[str, ...] = Field(
        (),
        description="hosts, NAME or NAME:PORT, that may be told of the end of a job; a request names the address",
    )
    webhook_networks: tuple[str, ...] = Field(
        (), description="private networks in which such a host may be, e.g. 10.1.0.0/16; there http is allowed too"
    )
    webhook_secret_file: str | None = Field(
        None, description="file with the secret that signs webhooks (HMAC-SHA256), at least 24 bytes"
    )
    webhook_tries: int = Field(
        12, ge=1, le=100, description="attempts to deliver a webhook, with pauses from 5 s up to an hour"
    )
    audit_max_mb: float = Field(64.0, gt=0.0, le=1e5, description="size at which the audit log begins a new file, MB")
