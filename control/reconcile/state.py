"""The component state machine: a pure function from (observed state, event, context) to (next observed state, action).

It does no I/O and reads no clock, so that every transition is a row of a table test. The reconciler supplies the events.

    STOPPED ──> STARTING ──> RUNNING <──> DEGRADED
       ^           │ ^          │            │
       │           │ └─ BACKOFF <┴─ died ─── stale too long
    STOPPING <─────┤      ^
                   ├──────┘ the start failed with a transient error
                   └─> FAILED: needs an operator or a changed setting

With `Policy.must_deliver` a component stays STARTING, with the trigger STARTED, from the return of its start to its first delivery.
"""

from __future__ import annotations

from dataclasses import replace

from control.reconcile.state_types import (
    Action,
    Adopted,
    Context,
    Event,
    Lost,
    Observed,
    Policy,
    Probed,
    Reconcile,
    Restart,
    Retry,
    Started,
    StartFailed,
    Stopped,
)
from cryptoviz.components import ComponentState, DesiredState, Probe, Trigger

__all__ = ["advance", "backoff_ms", "is_probed"]

_UP = (ComponentState.RUNNING, ComponentState.DEGRADED)
_MOST_DOUBLINGS = 4
"""Bound on the doublings of the grace period. 30 s grow to 8 min."""
NOTHING_YET = "nothing delivered yet"


Step = tuple[Observed, Action]


def advance(seen: Observed, event: Event, context: Context) -> Step:
    """The next observed state and the action. Events that do not fit the state (late answers) change nothing."""
    match event:
        case Reconcile():
            return _reconcile(seen, context)
        case Adopted(probe):
            return _adopted(seen, probe, context)
        case Started():
            return _started(seen, context)
        case StartFailed():
            return _start_failed(seen, event, context)
        case Stopped():
            return _stopped(seen, context)
        case Probed(probe):
            return _probed(seen, probe, context) if is_probed(seen) else (seen, Action.NONE)
        case Lost(message):
            return _died(seen, message, context) if is_probed(seen) else (seen, Action.NONE)
        case Restart():
            return _restart(seen, context)
        case Retry():
            return _retry(seen, context)


def is_probed(seen: Observed) -> bool:
    """Whether the component's work has begun, so that probes are meaningful."""
    return seen.state in _UP or (seen.state is ComponentState.STARTING and seen.trigger is Trigger.STARTED)


def backoff_ms(failures: int, policy: Policy, jitter: float) -> int:
    """Back-off after `failures` consecutive failures: exponential, capped, with jitter between half and the full value."""
    # The exponent is bounded before the shift, not after: a component may fail for weeks.
    full = min(policy.backoff_cap_ms, policy.backoff_base_ms << min(failures - 1, 16))
    return round(full * (0.5 + 0.5 * jitter))


def _move(seen: Observed, context: Context, state: ComponentState, trigger: Trigger, message: str = "") -> Observed:
    since_ms = seen.since_ms if seen.state is state else context.now_ms
    return replace(seen, state=state, trigger=trigger, message=message, since_ms=since_ms)


def _reconcile(seen: Observed, context: Context) -> Step:
    if context.desired is DesiredState.STOPPED:
        return _reconcile_disabled(seen, context)
    if seen.state is ComponentState.STOPPED:
        return _begin(seen, context, Trigger.OPERATOR)
    if seen.state is ComponentState.STARTING and seen.trigger is Trigger.DEPENDENCY:
        return _begin(seen, context, Trigger.OPERATOR)
    if seen.state is ComponentState.BACKOFF and context.now_ms >= seen.retry_at_ms:
        return _begin(replace(seen, restarts=seen.restarts + 1), context, Trigger.BACKOFF_OVER)
    if seen.state is ComponentState.STOPPING and seen.trigger is Trigger.DEPENDENCY:
        # Its stop was pending and has not begun: return to the earlier state; the next probe corrects it.
        if context.policy.must_deliver:
            return _move(seen, context, ComponentState.STARTING, Trigger.STARTED), Action.NONE
        return _move(seen, context, ComponentState.RUNNING, Trigger.OPERATOR), Action.NONE
    if is_probed(seen) and context.waits_for:
        return _depend(seen, context), Action.NONE
    return seen, Action.NONE


def _reconcile_disabled(seen: Observed, context: Context) -> Step:
    if seen.state is ComponentState.STOPPED:
        return seen, Action.NONE
    if seen.state is ComponentState.STOPPING and seen.trigger is not Trigger.DEPENDENCY:
        return seen, Action.NONE
    if context.held_by:
        return _move(seen, context, ComponentState.STOPPING, Trigger.DEPENDENCY, f"stops after {context.held_by}"), Action.NONE
    return _move(seen, context, ComponentState.STOPPING, Trigger.OPERATOR), Action.STOP


def _begin(seen: Observed, context: Context, trigger: Trigger) -> Step:
    if context.waits_for:
        action = Action.NONE if seen.state is ComponentState.STARTING else Action.PREPARE
        return _move(seen, context, ComponentState.STARTING, Trigger.DEPENDENCY, f"waiting for {context.waits_for}"), action
    return _move(seen, context, ComponentState.STARTING, trigger), Action.START


def _adopted(seen: Observed, probe: Probe, context: Context) -> Step:
    if seen.state is not ComponentState.STOPPED:
        return seen, Action.NONE
    if probe.running and context.policy.must_deliver and not probe.delivered:
        found = _move(seen, context, ComponentState.STARTING, Trigger.STARTED, probe.message or NOTHING_YET)
        return _with_facts(found, probe), Action.NONE
    if probe.running:
        found = _move(seen, context, ComponentState.RUNNING, Trigger.PROBE, "found running")
        return _with_facts(found, probe), Action.NONE
    if context.desired is DesiredState.STOPPED:
        return _move(seen, context, ComponentState.STOPPING, Trigger.OPERATOR), Action.STOP
    return seen, Action.NONE


def _started(seen: Observed, context: Context) -> Step:
    if seen.state is not ComponentState.STARTING:
        return seen, Action.NONE
    if context.policy.must_deliver:
        running = _move(seen, context, ComponentState.STARTING, Trigger.STARTED, NOTHING_YET)
    else:
        running = _move(seen, context, ComponentState.RUNNING, Trigger.STARTED)
    return replace(running, unhealthy_since_ms=None, healthy_since_ms=None), Action.NONE


def _start_failed(seen: Observed, event: StartFailed, context: Context) -> Step:
    if seen.state is not ComponentState.STARTING:
        return seen, Action.NONE
    if event.terminal:
        return _forget(_move(seen, context, ComponentState.FAILED, Trigger.START_FAILED, event.message)), Action.REPLACE
    return _back_off(seen, Trigger.START_FAILED, event.message, context), Action.REPLACE


def _stopped(seen: Observed, context: Context) -> Step:
    if seen.state is not ComponentState.STOPPING:
        return seen, Action.NONE
    return _forget(_move(seen, context, ComponentState.STOPPED, Trigger.OPERATOR)), Action.NONE


def _probed(seen: Observed, probe: Probe, context: Context) -> Step:
    if not probe.running:
        return _died(seen, probe.message or "its process ended and was restarted", context)
    facts = _with_facts(seen, probe)
    if context.policy.must_deliver and not probe.delivered:
        return _undelivered(facts, probe, context)
    if not probe.healthy:
        return _unhealthy(facts, probe, context)
    healthy_since = seen.healthy_since_ms if seen.healthy_since_ms is not None else context.now_ms
    failures = 0 if context.now_ms - healthy_since >= context.policy.stable_ms else seen.failures
    facts = replace(facts, unhealthy_since_ms=None, healthy_since_ms=healthy_since, failures=failures)
    if context.waits_for:
        return _depend(facts, context), Action.NONE
    if probe.degraded:
        return _move(facts, context, ComponentState.DEGRADED, Trigger.PROBE, probe.message), Action.NONE
    trigger = seen.trigger if seen.state is ComponentState.RUNNING else Trigger.PROBE
    return _move(facts, context, ComponentState.RUNNING, trigger, probe.message), Action.NONE


def _undelivered(facts: Observed, probe: Probe, context: Context) -> Step:
    """Before the first delivery: DEGRADED if the probe says so, else STARTING; if unhealthy, replaced after a growing grace period."""
    message = probe.message or NOTHING_YET
    if context.waits_for:
        waiting = _move(facts, context, ComponentState.STARTING, Trigger.DEPENDENCY, f"waiting for {context.waits_for}")
        return replace(waiting, unhealthy_since_ms=None, healthy_since_ms=None), Action.NONE
    if probe.degraded:
        held = _move(facts, context, ComponentState.DEGRADED, Trigger.PROBE, message)
        return replace(held, unhealthy_since_ms=None, healthy_since_ms=None), Action.NONE
    if probe.healthy:
        since = None
    else:
        since = facts.unhealthy_since_ms if facts.unhealthy_since_ms is not None else context.now_ms
        if context.now_ms - since >= _grace_ms(facts, context.policy):
            return _back_off(facts, Trigger.STALE, message, context), Action.REPLACE
    starting = _move(facts, context, ComponentState.STARTING, Trigger.STARTED, message)
    return replace(starting, unhealthy_since_ms=since, healthy_since_ms=None), Action.NONE


def _grace_ms(facts: Observed, policy: Policy) -> int:
    """Doubles with each failure after which it was not healthy for `stable_ms`: another restart seldom helps then, and takes what an overloaded
    machine lacks.
    """
    return policy.grace_ms << min(facts.failures, _MOST_DOUBLINGS)


def _unhealthy(facts: Observed, probe: Probe, context: Context) -> Step:
    if context.waits_for:
        # Not the component's fault: its grace period restarts when the dependency is back.
        return replace(_depend(facts, context), unhealthy_since_ms=None, healthy_since_ms=None), Action.NONE
    since = facts.unhealthy_since_ms if facts.unhealthy_since_ms is not None else context.now_ms
    facts = replace(facts, unhealthy_since_ms=since, healthy_since_ms=None)
    if context.now_ms - since >= _grace_ms(facts, context.policy):
        return _back_off(facts, Trigger.STALE, probe.message or "not healthy", context), Action.REPLACE
    return _move(facts, context, ComponentState.DEGRADED, Trigger.STALE, probe.message), Action.NONE


def _died(seen: Observed, message: str, context: Context) -> Step:
    return _back_off(seen, Trigger.DIED, message, context), Action.NONE


def _back_off(seen: Observed, trigger: Trigger, message: str, context: Context) -> Observed:
    failures = seen.failures + 1
    wait_ms = backoff_ms(failures, context.policy, context.jitter)
    text = f"{message}; restart in {wait_ms / 1000:.1f} s"
    moved = _forget(_move(seen, context, ComponentState.BACKOFF, trigger, text))
    return replace(moved, failures=failures, retry_at_ms=context.now_ms + wait_ms)


def _restart(seen: Observed, context: Context) -> Step:
    if seen.state is ComponentState.STOPPED:
        return seen, Action.NONE  # the desired state, already RUNNING, starts it
    if seen.state is ComponentState.STOPPING and seen.trigger is not Trigger.DEPENDENCY:
        return seen, Action.NONE
    ending = _move(seen, context, ComponentState.STOPPING, Trigger.OPERATOR, "restarting")
    return replace(ending, restarts=seen.restarts + 1, failures=0), Action.STOP


def _retry(seen: Observed, context: Context) -> Step:
    if seen.state is ComponentState.FAILED:
        return replace(_move(seen, context, ComponentState.STOPPED, Trigger.OPERATOR), failures=0), Action.NONE
    if seen.state is ComponentState.BACKOFF:
        return replace(seen, failures=0, retry_at_ms=context.now_ms), Action.NONE
    return seen, Action.NONE


def _depend(seen: Observed, context: Context) -> Observed:
    """A dependency is down. Before the first delivery the component waits as before its start; the start is then repeated, which is a no-op."""
    if seen.state is ComponentState.STARTING:
        return _move(seen, context, ComponentState.STARTING, Trigger.DEPENDENCY, f"waiting for {context.waits_for}")
    return _move(seen, context, ComponentState.DEGRADED, Trigger.DEPENDENCY, f"depends on {context.waits_for}")


def _with_facts(seen: Observed, probe: Probe) -> Observed:
    return replace(seen, metrics=dict(probe.metrics), pid=probe.pid, url=probe.url, nodes=probe.nodes)


def _forget(seen: Observed) -> Observed:
    """Clear the facts of an ended incarnation."""
    return replace(seen, metrics={}, pid=None, url=None, nodes=(), unhealthy_since_ms=None, healthy_since_ms=None)
