"""What `run --dry-run` prints."""

from __future__ import annotations

import json

import typer

from comface_bench.cli.tables import print_table
from comface_bench.execute.plan import Plan


def print_plan(plan: Plan, as_json: bool) -> None:
    """Print each unit with its key and whether it is finished, and what is skipped and why."""
    rows = [
        {
            "method": cell.method_name,
            "task": cell.task.name,
            "protocol": cell.protocol.name,
            "fold": unit.fold,
            "seed": unit.seed,
            "key": unit.key(),
            "done": unit not in cell.missing,
        }
        for cell in plan.cells
        for unit in cell.units
    ]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        for skip in plan.skips:
            typer.echo(json.dumps({"skipped": skip.label, "reason": skip.reason, "hint": skip.hint}))
        return
    headings = ["method", "task", "protocol", "fold", "seed", "key", "state"]
    print_table(
        headings,
        [
            [
                *(str(row[name]) for name in headings[:5]),
                str(row["key"])[:12],
                "done" if row["done"] else "missing",
            ]
            for row in rows
        ],
        numbers=("fold", "seed"),
    )
    missing = sum(not row["done"] for row in rows)
    typer.echo(f"\n{len(rows)} units: {len(rows) - missing} done, {missing} to run")
    for skip in plan.skips:
        typer.echo(f"skipped: {skip.label}: {skip.reason}")
        if skip.hint:
            typer.echo(f"  {skip.hint}")
