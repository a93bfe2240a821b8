"""The history of a device: what is kept of a deployment, and for how long."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from balancer.core.model import Applied, DeviceSpec, Outcome
from balancer.db.mapping import Values, shortened
from balancer.db.tables import deployment_totals, deployments

_SAME = ("outcome", "plan", "sentence", "rejected")


def of_applied(spec: DeviceSpec, applied: Applied) -> Values | None:
    """None when nothing was to do and nobody had asked: that is no deployment."""
    asked = spec.revision > spec.device.applied_revision or spec.failures > 0
    if applied.plan == "noop" and not asked:
        return None
    return {
        "revision": spec.revision,
        "outcome": Outcome.APPLIED.value,
        "plan": applied.plan,
        "sentence": applied.sentence,
        "rejected": dict(applied.rejected),
        "diff": shortened(applied.diff),
    }


def of_failure(spec: DeviceSpec, sentence: str, *, retried: bool) -> Values:
    return {
        "revision": spec.revision,
        "outcome": (Outcome.RETRYING if retried else Outcome.FAILED).value,
        "plan": None,
        "sentence": sentence,
        "rejected": {},
        "diff": "",
    }


def record(connection: Connection, device_id: str, values: Values, *, duration: float, now: float, keep: int) -> None:
    """Add it as the newest, and remove what is beyond the `keep` newest. The same again is counted.

    To be called by the owner of the device's lease: nobody else may add one at the same time.
    """
    _add_to_total(connection, device_id, values, duration)
    this = deployments.c.device_id == device_id
    newest = (
        connection.execute(
            select(*(deployments.c[name] for name in ("number", "revision", "attempts", *_SAME)))
            .where(this)
            .order_by(deployments.c.number.desc())
            .limit(1)
        )
        .mappings()
        .first()
    )
    times = {"duration": duration, "last_started_at": now - duration}
    # What failed may have been asked for again; what was done and was not asked for is a repair that does not last.
    again = values["outcome"] != Outcome.APPLIED.value or (newest and newest["revision"] == values["revision"])
    if newest is not None and again and all(newest[name] == values[name] for name in _SAME):
        connection.execute(
            update(deployments)
            .where(this, deployments.c.number == newest["number"])
            .values(revision=values["revision"], attempts=newest["attempts"] + 1, **times)
        )
        return
    number = 1 if newest is None else newest["number"] + 1
    connection.execute(
        insert(deployments).values(
            device_id=device_id, number=number, started_at=now - duration, attempts=1, **times, **values
        )
    )
    if number > keep:
        connection.execute(delete(deployments).where(this, deployments.c.number <= number - keep))


def _add_to_total(connection: Connection, device_id: str, values: Values, duration: float) -> None:
    kind = {"device_id": device_id, "outcome": values["outcome"], "plan": values["plan"] or ""}
    total = deployment_totals.c
    added = connection.execute(
        update(deployment_totals)
        .where(*(total[name] == value for name, value in kind.items()))
        .values(number=total.number + 1, seconds=total.seconds + duration)
    )
    if not added.rowcount:
        connection.execute(insert(deployment_totals).values(**kind, number=1, seconds=duration))
