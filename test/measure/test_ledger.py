"""Every message ends in one place."""

from __future__ import annotations

from perf_inference.measure.ledger import Counts, GapCounter, Ledger
from perf_inference.measure.mailbox import Mailbox


def test_a_replaced_item_is_counted_not_lost() -> None:
    ledger = Ledger()
    mailbox: Mailbox[str] = Mailbox(ledger)
    mailbox.put("a")
    assert mailbox.take(0) == ("a", 0, None)
    mailbox.put("b")
    mailbox.put("c")
    assert ledger.snapshot() == Counts(received=3, replaced=1, waiting=1, in_work=1)
    mailbox.done("processed")
    assert mailbox.take(0) == ("c", 1, 0)
    mailbox.done("failed")
    assert ledger.snapshot() == Counts(received=3, processed=1, replaced=1, failed=1)
    assert ledger.snapshot().residual == 0


def test_the_oldest_age_is_of_what_was_replaced_before_the_take_and_of_nothing_else() -> None:
    mailbox: Mailbox[int] = Mailbox(Ledger(), age_ns=lambda item: item)
    for item in (5, 9, 7, 0):
        mailbox.put(item)
    assert mailbox.take(0) == (0, 3, 9)
    for item in (-3, -2, 1):  # an age may be negative where a message came before it was due
        mailbox.put(item)
    assert mailbox.take(0) == (1, 2, -2)
    mailbox.put(1)
    assert mailbox.take(0) == (1, 0, None)


def test_a_deep_mailbox_keeps_the_order_and_drops_the_oldest() -> None:
    ledger = Ledger()
    mailbox: Mailbox[int] = Mailbox(ledger, depth=2)
    for item in (1, 2, 3):
        mailbox.put(item)
    assert [mailbox.take(0), mailbox.take(0), mailbox.take(0)] == [(2, 1, 0), (3, 0, None), None]


def test_a_closed_mailbox_gives_nothing_and_still_accounts_for_what_waits() -> None:
    ledger = Ledger()
    mailbox: Mailbox[int] = Mailbox(ledger)
    mailbox.put(1)
    mailbox.close()
    assert mailbox.take() is None
    assert ledger.snapshot() == Counts(received=1, waiting=1)


def test_residual_shows_a_counter_that_was_forgotten() -> None:
    assert Counts(received=5, processed=2, replaced=1).residual == 2


def test_gaps_are_counted_per_publisher_and_not_at_its_restart() -> None:
    gaps = GapCounter()
    #        first  next  gap of 2  other publisher  restart
    events = [(b"p", 1), (b"p", 2), (b"p", 5), (b"q", 7), (b"p", 1)]
    assert [gaps.lost(gid, sequence) for gid, sequence in events] == [None, 0, 2, None, None]


def test_lost_is_null_until_it_is_known() -> None:
    ledger = Ledger()
    assert ledger.snapshot().lost_before is None
    ledger.lost(0)
    ledger.lost(3)
    assert ledger.snapshot().lost_before == 3


def test_publishers_without_end_are_not_remembered_without_end() -> None:
    gaps = GapCounter()
    for number in range(5000):
        gaps.lost(number.to_bytes(8, "little"), 1)
        gaps.lost(b"steady", number)
    assert gaps.lost(b"steady", 5002) == 2, "one that goes on sending is not forgotten"
    assert len(gaps._last) == 1000
