"""``textmill-server rebuild``: the ledger from the store, by hand."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jobs.names import TenantNames
from jobs.settings import Settings
from server.connect import Connections
from storage.installation import Installation
from storage.objects import ObjectStore
from storage.rebuild import BeingBuilt, Rebuilt, Whole, rebuild
from storage.tenants import tenants


def run_rebuild(settings: Settings, *, force: bool) -> None:
    """Rebuild with a progress bar (on a terminal only), and say what is back.

    Roles that run meanwhile wait, and go on by themselves afterwards. Where one of them was first, this only waits.

    Args:
        settings: name the store and the ledger.
        force: give up a ledger that is whole.

    Raises:
        Unavailable: store or Redis are away.
    """
    connections = Connections.open(settings)
    ledger, console = connections.ledger, Console()
    installation = Installation.load(connections.store)
    if ledger.epoch() is not None and not force:
        console.print("the ledger is whole; --force builds it again all the same")
        return
    try:
        _report(_rebuild(connections, installation.id, force=force), console)
    except (BeingBuilt, Whole):
        # A role that runs looks after the ledger each second, and may have been quicker.
        console.print("another process is building the ledger; waiting for it")
        while ledger.epoch() is None:
            time.sleep(0.2)
        console.print("the ledger is whole")


def _rebuild(connections: Connections, owner: str, *, force: bool) -> Rebuilt:
    store, ledger = connections.store, connections.ledger
    console = Console(stderr=True)
    columns = (TextColumn("rebuilding"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("jobs", total=_count(store))
        if force:
            ledger.give_up()
        return rebuild(store, ledger, owner, lambda _job_id: progress.advance(task))


def _count(store: ObjectStore) -> int:
    folders = [TenantNames(tenant).jobs for tenant in tenants(store)]
    return sum(1 for folder in folders for _ in store.list(folder, recursive=False))


def _report(found: Rebuilt, console: Console) -> None:
    console.print(f"ledger rebuilt in {found.seconds:.1f} s: {found.keys} keys")
    for status, count in sorted(found.jobs.items()):
        console.print(f"  {count:>8} jobs {status}")
