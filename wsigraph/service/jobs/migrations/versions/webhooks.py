"""The table of webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "wsigraph_webhooks",
        sa.Column("job_id", sa.String(32), primary_key=True),
        sa.Column("url", sa.String(500), primary_key=True),
        sa.Column("webhook_id", sa.String(64), nullable=False, unique=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Float, nullable=False),
    )
    op.create_index("wsigraph_webhooks_due", "wsigraph_webhooks", ["state", "next_at"])
