"""The tables of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "devices",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=255), nullable=True),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("username", sa.String(length=255), nullable=False),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("private_key", sa.Text(), nullable=True),
        sa.Column("key_filename", sa.Text(), nullable=True),
        sa.Column("host_key", sa.Text(), nullable=True),
        sa.Column("capabilities", LONG_TEXT, nullable=True),
        sa.Column("supports_ipv6", sa.Boolean(), nullable=False),
        sa.Column("admin_state", sa.String(length=32), nullable=False),
        sa.Column("interface", sa.String(length=64), nullable=True),
        sa.Column("config_path", sa.String(length=500), nullable=False),
        sa.Column("socket", sa.String(length=255), nullable=True),
        sa.Column("vip_ranges", LONG_TEXT, nullable=False),
        sa.Column("extras", LONG_TEXT, nullable=False),
        sa.Column("adopting", sa.Boolean(), nullable=False),
        sa.Column("deployed_epoch", sa.BigInteger(), nullable=False),
        sa.Column("resyncing", sa.Boolean(), nullable=False),
        sa.Column("desired_revision", sa.BigInteger(), nullable=False),
        sa.Column("applied_revision", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=True),
        sa.Column("halted_revision", sa.BigInteger(), nullable=True),
        sa.Column("waiting_for", sa.Text(), nullable=True),
        sa.Column("waiting_since", sa.Double(), nullable=False),
        sa.Column("look_asked_at", sa.Double(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
        sa.UniqueConstraint("host", "port", "config_path", name="uq_devices_host_port_config_path"),
    )
    op.create_table(
        "encryption",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("probe", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_encryption"),
    )
    op.create_table(
        "health_monitors",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("delay", sa.Double(), nullable=False),
        sa.Column("timeout", sa.Double(), nullable=False),
        sa.Column("rise", sa.Integer(), nullable=False),
        sa.Column("fall", sa.Integer(), nullable=False),
        sa.Column("http", LONG_TEXT, nullable=True),
        sa.Column("admin_up", sa.Boolean(), nullable=False),
        sa.Column("tags", LONG_TEXT, nullable=False),
        sa.Column("extras", LONG_TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_health_monitors"),
    )
    op.create_index("ix_health_monitors_project_id", "health_monitors", ["project_id"])
    op.create_table(
        "device_observations",
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("observed_at", sa.Double(), nullable=False),
        sa.Column("reachable", sa.Boolean(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("version", sa.String(length=255), nullable=True),
        sa.Column("host_key", sa.Text(), nullable=True),
        sa.Column("foreign_binds", LONG_TEXT, nullable=False),
        sa.Column("findings", LONG_TEXT, nullable=False),
        sa.Column("repair", sa.Text(), nullable=True),
        sa.Column("drift", LONG_TEXT, nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
        sa.Column("own_addresses", LONG_TEXT, nullable=False),
        sa.Column("managed_at", sa.String(length=64), nullable=True),
        sa.Column("facts", LONG_TEXT, nullable=False),
        sa.Column("sampled_at", sa.Double(), nullable=True),
        sa.Column("sampled_process", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_device_observations_device_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", name="pk_device_observations"),
    )
    op.create_table(
        "object_statistics",
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("object_id", sa.String(length=32), nullable=False),
        sa.Column("load_balancer_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=True),
        sa.Column("active_connections", sa.BigInteger(), nullable=False),
        sa.Column("bytes_in", sa.BigInteger(), nullable=False),
        sa.Column("bytes_out", sa.BigInteger(), nullable=False),
        sa.Column("total_connections", sa.BigInteger(), nullable=False),
        sa.Column("request_errors", sa.BigInteger(), nullable=False),
        sa.Column("last_bytes_in", sa.BigInteger(), nullable=False),
        sa.Column("last_bytes_out", sa.BigInteger(), nullable=False),
        sa.Column("last_total_connections", sa.BigInteger(), nullable=False),
        sa.Column("last_request_errors", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_object_statistics_device_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", "object_id", name="pk_object_statistics"),
    )
    op.create_index("ix_object_statistics_load_balancer_id", "object_statistics", ["load_balancer_id"])
    op.create_table(
        "deployments",
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("plan", sa.String(length=32), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("rejected", LONG_TEXT, nullable=False),
        sa.Column("diff", LONG_TEXT, nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("last_started_at", sa.Double(), nullable=False),
        sa.Column("duration", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_deployments_device_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device_id", "number", name="pk_deployments"),
    )
    op.create_table(
        "leases",
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=True),
        sa.Column("last_owner", sa.String(length=255), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_leases_device_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device_id", name="pk_leases"),
    )
    op.create_table(
        "networks",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_networks"),
    )
    op.create_table(
        "subnets",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("network_id", sa.String(length=32), nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("cidr", sa.String(length=64), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=True),
        sa.Column("ranges", LONG_TEXT, nullable=False),
        sa.Column("device_ids", LONG_TEXT, nullable=False),
        sa.Column("interface", sa.String(length=64), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name="fk_subnets_network_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_subnets"),
    )
    op.create_index("ix_subnets_network_id", "subnets", ["network_id"])
    op.create_table(
        "network_ports",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("network_id", sa.String(length=32), nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("load_balancer_id", sa.String(length=32), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name="fk_network_ports_network_id"),
        sa.PrimaryKeyConstraint("id", name="pk_network_ports"),
    )
    op.create_index("ix_network_ports_network_id", "network_ports", ["network_id"])
    op.create_table(
        "fixed_ips",
        sa.Column("subnet_id", sa.String(length=32), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("port_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["port_id"], ["network_ports.id"], name="fk_fixed_ips_port_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["subnet_id"], ["subnets.id"], name="fk_fixed_ips_subnet_id"),
        sa.PrimaryKeyConstraint("subnet_id", "address", name="pk_fixed_ips"),
    )
    op.create_index("ix_fixed_ips_address", "fixed_ips", ["address"])
    op.create_index("ix_fixed_ips_port_id", "fixed_ips", ["port_id"])
    op.create_table(
        "load_balancers",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("admin_up", sa.Boolean(), nullable=False),
        sa.Column("exempt", sa.Boolean(), nullable=False),
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("applied_generation", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("error_sentence", sa.Text(), nullable=True),
        sa.Column("error_generation", sa.BigInteger(), nullable=True),
        sa.Column("error_public", sa.Boolean(), nullable=False),
        sa.Column("notices", LONG_TEXT, nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=True),
        sa.Column("flavor_id", sa.String(length=32), nullable=True),
        sa.Column("availability_zone", sa.String(length=255), nullable=True),
        sa.Column("tags", LONG_TEXT, nullable=False),
        sa.Column("extras", LONG_TEXT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.Column("applied_changed_at", MOMENT, nullable=True),
        sa.Column("moving_from", sa.String(length=32), nullable=True),
        sa.Column("move_phase", sa.String(length=16), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_load_balancers_device_id"),
        sa.ForeignKeyConstraint(["moving_from"], ["devices.id"], name="fk_load_balancers_moving_from"),
        sa.PrimaryKeyConstraint("id", name="pk_load_balancers"),
    )
    op.create_index("ix_load_balancers_device_id_deleted", "load_balancers", ["device_id", "deleted"])
    op.create_index("ix_load_balancers_moving_from", "load_balancers", ["moving_from"])
    op.create_index("ix_load_balancers_project_id", "load_balancers", ["project_id"])
    op.create_table(
        "accepted_blocks",
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("load_balancer_id", sa.String(length=32), nullable=False),
        sa.Column("text", LONG_TEXT, nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_accepted_blocks_device_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"],
            ["load_balancers.id"],
            name="fk_accepted_blocks_load_balancer_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("device_id", "load_balancer_id", name="pk_accepted_blocks"),
    )
    op.create_index("ix_accepted_blocks_load_balancer_id", "accepted_blocks", ["load_balancer_id"])
    op.create_table(
        "reservations",
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("port", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("load_balancer_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_reservations_device_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device_id", "address", "port", name="pk_reservations"),
    )
    op.create_index("ix_reservations_load_balancer_id", "reservations", ["load_balancer_id"])
    op.create_index("ix_reservations_address_port", "reservations", ["address", "port"])
    op.create_table(
        "placement_profiles",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_placement_profiles"),
    )
    op.create_table(
        "placements",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("profile_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["profile_id"], ["placement_profiles.id"], name="fk_placements_profile_id"),
        sa.PrimaryKeyConstraint("id", name="pk_placements"),
        sa.UniqueConstraint("kind", "name", name="uq_placements_kind_name"),
    )
    op.create_index("ix_placements_profile_id", "placements", ["profile_id"])
    op.create_table(
        "pools",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("load_balancer_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("subnet_id", sa.String(length=64), nullable=True),
        sa.Column("protocol", sa.String(length=32), nullable=False),
        sa.Column("algorithm", sa.String(length=32), nullable=False),
        sa.Column("admin_up", sa.Boolean(), nullable=False),
        sa.Column("tags", LONG_TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"], ["load_balancers.id"], name="fk_pools_load_balancer_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_pools"),
    )
    op.create_index("ix_pools_load_balancer_id", "pools", ["load_balancer_id"])
    op.create_table(
        "virtual_ips",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("load_balancer_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("prefix_length", sa.Integer(), nullable=True),
        sa.Column("asked_length", sa.Integer(), nullable=True),
        sa.Column("network_id", sa.String(length=64), nullable=True),
        sa.Column("subnet_id", sa.String(length=64), nullable=True),
        sa.Column("port_id", sa.String(length=64), nullable=True),
        sa.Column("qos_policy_id", sa.String(length=64), nullable=True),
        sa.Column("interface", sa.String(length=64), nullable=True),
        sa.Column("lasting", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"], ["load_balancers.id"], name="fk_virtual_ips_load_balancer_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_virtual_ips"),
    )
    op.create_index("ix_virtual_ips_load_balancer_id", "virtual_ips", ["load_balancer_id"])
    op.create_index("ix_virtual_ips_address", "virtual_ips", ["address"])
    op.create_index("ix_virtual_ips_port_id", "virtual_ips", ["port_id"])
    op.create_table(
        "listeners",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("load_balancer_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("virtual_ip_ids", LONG_TEXT, nullable=False),
        sa.Column("protocol", sa.String(length=32), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("default_pool_id", sa.String(length=32), nullable=True),
        sa.Column("connection_limit", sa.Integer(), nullable=True),
        sa.Column("timeout_client", sa.Integer(), nullable=True),
        sa.Column("timeout_member_connect", sa.Integer(), nullable=True),
        sa.Column("timeout_member_data", sa.Integer(), nullable=True),
        sa.Column("timeout_tcp_inspect", sa.Integer(), nullable=True),
        sa.Column("insert_headers", LONG_TEXT, nullable=False),
        sa.Column("allowed_cidrs", LONG_TEXT, nullable=False),
        sa.Column("tls", LONG_TEXT, nullable=True),
        sa.Column("admin_up", sa.Boolean(), nullable=False),
        sa.Column("tags", LONG_TEXT, nullable=False),
        sa.Column("extras", LONG_TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["default_pool_id"], ["pools.id"], name="fk_listeners_default_pool_id"),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"], ["load_balancers.id"], name="fk_listeners_load_balancer_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_listeners"),
    )
    op.create_index("ix_listeners_default_pool_id", "listeners", ["default_pool_id"])
    op.create_index("ix_listeners_load_balancer_id", "listeners", ["load_balancer_id"])
    op.create_table(
        "members",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("pool_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("backup", sa.Boolean(), nullable=False),
        sa.Column("subnet_id", sa.String(length=64), nullable=True),
        sa.Column("monitor_address", sa.String(length=255), nullable=True),
        sa.Column("monitor_port", sa.Integer(), nullable=True),
        sa.Column("max_connections", sa.Integer(), nullable=True),
        sa.Column("min_connections", sa.Integer(), nullable=True),
        sa.Column("slow_start", sa.Integer(), nullable=True),
        sa.Column("check_interval", sa.Double(), nullable=True),
        sa.Column("check_rise", sa.Integer(), nullable=True),
        sa.Column("check_fall", sa.Integer(), nullable=True),
        sa.Column("cookie", sa.String(length=255), nullable=True),
        sa.Column("admin_up", sa.Boolean(), nullable=False),
        sa.Column("rotation", sa.String(length=32), nullable=False),
        sa.Column("tags", LONG_TEXT, nullable=False),
        sa.Column("extras", LONG_TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name="fk_members_pool_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_members"),
    )
    op.create_index("ix_members_pool_id", "members", ["pool_id"])
    op.create_table(
        "pool_health_monitors",
        sa.Column("pool_id", sa.String(length=32), nullable=False),
        sa.Column("health_monitor_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["health_monitor_id"],
            ["health_monitors.id"],
            name="fk_pool_health_monitors_health_monitor_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name="fk_pool_health_monitors_pool_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pool_id", "health_monitor_id", name="pk_pool_health_monitors"),
    )
    op.create_index("ix_pool_health_monitors_health_monitor_id", "pool_health_monitors", ["health_monitor_id"])
    op.create_table(
        "session_persistences",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("pool_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("cookie_name", sa.String(length=255), nullable=True),
        sa.Column("timeout", sa.Integer(), nullable=True),
        sa.Column("granularity", sa.String(length=64), nullable=True),
        sa.Column("extras", LONG_TEXT, nullable=False),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name="fk_session_persistences_pool_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_session_persistences"),
        sa.UniqueConstraint("pool_id", name="uq_session_persistences_pool_id"),
    )
    op.create_table(
        "l7_policies",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("listener_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("redirect", LONG_TEXT, nullable=False),
        sa.Column("admin_up", sa.Boolean(), nullable=False),
        sa.Column("tags", LONG_TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["listener_id"], ["listeners.id"], name="fk_l7_policies_listener_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_l7_policies"),
    )
    op.create_index("ix_l7_policies_listener_id", "l7_policies", ["listener_id"])
    op.create_table(
        "l7_rules",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("l7_policy_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("compare_type", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("invert", sa.Boolean(), nullable=False),
        sa.Column("admin_up", sa.Boolean(), nullable=False),
        sa.Column("tags", LONG_TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["l7_policy_id"], ["l7_policies.id"], name="fk_l7_rules_l7_policy_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_l7_rules"),
    )
    op.create_index("ix_l7_rules_l7_policy_id", "l7_rules", ["l7_policy_id"])
    op.create_table(
        "deployment_totals",
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("plan", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_deployment_totals_device_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", "outcome", "plan", name="pk_deployment_totals"),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("alive_until", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
        sa.UniqueConstraint("id", name="uq_workers_id"),
    )
    op.create_table(
        "quotas",
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.Column("load_balancer", sa.Integer(), nullable=True),
        sa.Column("listener", sa.Integer(), nullable=True),
        sa.Column("pool", sa.Integer(), nullable=True),
        sa.Column("member", sa.Integer(), nullable=True),
        sa.Column("health_monitor", sa.Integer(), nullable=True),
        sa.Column("l7_policy", sa.Integer(), nullable=True),
        sa.Column("l7_rule", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("project_id", name="pk_quotas"),
    )
    op.create_table(
        "removed_objects",
        sa.Column("load_balancer_id", sa.String(length=32), nullable=False),
        sa.Column("object_id", sa.String(length=32), nullable=False),
        sa.Column("resource", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["load_balancer_id"],
            ["load_balancers.id"],
            name="fk_removed_objects_load_balancer_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("load_balancer_id", "object_id", name="pk_removed_objects"),
    )


def downgrade() -> None:
    op.drop_table("removed_objects")
    op.drop_table("quotas")
    op.drop_table("workers")
    op.drop_table("deployment_totals")
    op.drop_table("l7_rules")
    op.drop_table("l7_policies")
    op.drop_table("session_persistences")
    op.drop_table("pool_health_monitors")
    op.drop_table("members")
    op.drop_table("listeners")
    op.drop_table("virtual_ips")
    op.drop_table("pools")
    op.drop_table("placements")
    op.drop_table("placement_profiles")
    op.drop_table("reservations")
    op.drop_table("accepted_blocks")
    op.drop_table("load_balancers")
    op.drop_table("fixed_ips")
    op.drop_table("network_ports")
    op.drop_table("subnets")
    op.drop_table("networks")
    op.drop_table("leases")
    op.drop_table("deployments")
    op.drop_table("object_statistics")
    op.drop_table("device_observations")
    op.drop_table("health_monitors")
    op.drop_table("encryption")
    op.drop_table("devices")
