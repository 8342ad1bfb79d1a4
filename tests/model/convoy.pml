/* convoy.pml - lease, commit, reconciliation and idempotency, for spin
 *
 * Two workers, two brokers, one gateway with its ledger, and a client that repeats its request
 * until it is answered. README.md tells what is modelled, what is left out and what is checked;
 * names are those of common/PROTOCOL.md and of the sources that each part names.
 *
 *   TASKS    tasks, each of a client of its own
 *   FAULTS   crashes (broker, worker, gateway) and broken connections in one run; with
 *            CRASHES_ONLY no connection breaks by itself
 *   LOSSES   messages lost, tasks given back, results not kept until they are acknowledged
 *   EARLY    timers that may fire while messages are still under way
 *   CANCELS  tasks that their client cancels
 *   ROUNDS   heartbeats after the last of these until everything has ended and is forgotten
 *
 * MUTATE_COMMIT, _REQUEUE, _CANCEL and _KEY break the protocol in one place each. */
#ifndef TASKS
#define TASKS 1
#endif
#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef EARLY
#define EARLY 1
#endif
#ifndef CANCELS
#define CANCELS 1
#endif
#ifndef ROUNDS
#define ROUNDS 5
#endif

#include "state.pml"
#include "worker.pml"
#include "broker.pml"
#include "gateway.pml"

/* One message of a set is lost. */
inline lose(set, what)
{
    losses--;
    rounds = 0;
    set = set & ~what
}

/* --- who does what -------------------------------------------------------------------------------
 * A process for each worker, broker and task: their part, and the connection between them. What is
 * done once for all brokers or tasks, the process does whose number is 0. */
proctype pair(byte w; byte b; byte t)
{
end:
    do /* the worker */
    :: d_step { t == 0 && w_end[LINK(w, b)] == STALE -> w_lost(w, b); w_ask(w, b) }
    :: d_step { t == 0 && w_end[LINK(w, b)] == AWAY -> w_ask(w, b) }
    :: d_step {
        w_down[AT(LINK(w, b), t)] & DISPATCH ->
        w_down[AT(LINK(w, b), t)] = w_down[AT(LINK(w, b), t)] & ~DISPATCH;
        w_via[AT(w, t)] = b;
        if
        :: w_st[AT(w, t)] == 0 -> w_st[AT(w, t)] = HAVE
        :: w_st[AT(w, t)] == HELD -> w_out[AT(w, t)] = w_out[AT(w, t)] | TO_SEND
        :: else
        fi
    }
    :: d_step {
        w_down[AT(LINK(w, b), t)] & ACK ->
        w_down[AT(LINK(w, b), t)] = w_down[AT(LINK(w, b), t)] & ~ACK;
        if
        :: w_st[AT(w, t)] == HELD -> w_drop(w, t)
        :: else
        fi
    }
    :: d_step {
        w_down[AT(LINK(w, b), t)] & REVOKE ->
        w_down[AT(LINK(w, b), t)] = w_down[AT(LINK(w, b), t)] & ~REVOKE;
        if
        :: w_via[AT(w, t)] == b || w_via[AT(w, t)] == NOBODY -> w_drop(w, t)
        :: else
        fi
    }
    :: d_step {
        b == 0 && w_st[AT(w, t)] == HAVE ->
        w_st[AT(w, t)] = HELD;
        w_out[AT(w, t)] = TO_SEND
    }
    :: d_step {
        b == 0 && w_out[AT(w, t)] % 2 &&
        (UP(w_end[LINK(w, 0)]) || UP(w_end[LINK(w, 1)])) -> w_answer(w, t)
    }
    :: d_step { /* its runner crashed on it, or it will not have it */
        losses && b == 0 && w_st[AT(w, t)] == HAVE ->
        losses--;
        rounds = 0;
        j = (w_via[AT(w, t)] == NOBODY -> 0 : w_via[AT(w, t)]);
        if
        :: w_end[LINK(w, j)] == LIVE ->
            w_up[AT(LINK(w, j), t)] = w_up[AT(LINK(w, j), t)] | BACK
        :: else
        fi;
        w_drop(w, t)
    }
    :: d_step { /* kept for too long, or no room for it any more */
        losses && b == 0 && w_st[AT(w, t)] == HELD -> losses--; rounds = 0; w_drop(w, t)
    }
    :: d_step { faults && b == 0 && t == 0 -> faults--; rounds = 0; w_crash(w) }
    :: d_step { /* a heartbeat, a result once more: before their time */
        early && t == 0 && w_end[LINK(w, b)] == LIVE && w_say[LINK(w, b)] == 0 ->
        early--; rounds = 0; w_tell(w, b, HEARTBEAT)
    }
    :: d_step {
        early && b == 0 && w_st[AT(w, t)] == HELD && w_out[AT(w, t)] % 2 == 0 ->
        early--; rounds = 0; w_out[AT(w, t)] = w_out[AT(w, t)] | TO_SEND
    }
    /* the broker */
    :: d_step { t == 0 && bw_end[LINK(w, b)] == STALE -> b_worker_gone(b, w) }
    :: d_step {
        t == 0 && w_say[LINK(w, b)] == HELLO ->
        b_worker_gone(b, w);
        b_held(b, w, false);
        bw_end[LINK(w, b)] = LIVE;
        w_end[LINK(w, b)] = LIVE; /* WELCOME: whatever it holds is sent again */
        for (i : 0 .. TASKS - 1) {
            if
            :: w_st[AT(w, i)] == HELD -> w_out[AT(w, i)] = w_out[AT(w, i)] | TO_SEND
            :: else
            fi
        }
        skip
    }
    :: d_step { t == 0 && w_say[LINK(w, b)] == HEARTBEAT -> b_held(b, w, true) }
    :: d_step {
        b_st[AT(b, t)] == QUEUED && UP(bw_end[LINK(w, b)]) && (w == 0 || !ALIKE) ->
        b_lease(b, t, w);
        b_send(b, w, t, DISPATCH)
    }
    :: d_step {
        w_up[AT(LINK(w, b), t)] & RESULT ->
        w_up[AT(LINK(w, b), t)] = w_up[AT(LINK(w, b), t)] & ~RESULT;
        b_result(b, w, t)
    }
    :: d_step {
        w_up[AT(LINK(w, b), t)] & BACK ->
        w_up[AT(LINK(w, b), t)] = w_up[AT(LINK(w, b), t)] & ~BACK;
        if
        :: b_st[AT(b, t)] == LEASED && b_holder[AT(b, t)] == w -> b_requeue(b, t)
        :: else
        fi
    }
    /* the connection */
#ifndef CRASHES_ONLY
    :: d_step { /* closed, partitioned, or one end stood still */
        faults && t == 0 && w_end[LINK(w, b)] == LIVE ->
        faults--;
        rounds = 0;
        w_clear(LINK(w, b));
        w_end[LINK(w, b)] = STALE;
        bw_end[LINK(w, b)] = STALE
    }
#endif
    :: d_step {
        losses && (w_up[AT(LINK(w, b), t)] & RESULT) ->
        lose(w_up[AT(LINK(w, b), t)], RESULT)
    }
    :: d_step { losses && (w_up[AT(LINK(w, b), t)] & BACK) -> lose(w_up[AT(LINK(w, b), t)], BACK) }
    :: d_step {
        losses && (w_down[AT(LINK(w, b), t)] & DISPATCH) ->
        lose(w_down[AT(LINK(w, b), t)], DISPATCH)
    }
    :: d_step {
        losses && (w_down[AT(LINK(w, b), t)] & ACK) ->
        lose(w_down[AT(LINK(w, b), t)], ACK)
    }
    :: d_step {
        losses && (w_down[AT(LINK(w, b), t)] & REVOKE) ->
        lose(w_down[AT(LINK(w, b), t)], REVOKE)
    }
    :: d_step {
        losses && t == 0 && w_say[LINK(w, b)] ->
        losses--;
        rounds = 0;
        w_end[LINK(w, b)] = (w_say[LINK(w, b)] == HELLO -> AWAY : w_end[LINK(w, b)]);
        w_say[LINK(w, b)] = 0;
        w_list[LINK(w, b)] = 0
    }
    od
}

/* The same for gateway, broker and task. */
proctype with_gateway(byte b; byte t)
{
end:
    do /* the gateway */
    :: d_step {
        t == 0 && g_end[b] == STALE ->
        g_end[b] = AWAY;
        g_move_strays();
        g_ask(b)
    }
    :: d_step { t == 0 && g_end[b] == AWAY -> g_ask(b) }
    :: d_step {
        g_down[AT(b, t)] & UNKNOWN ->
        g_down[AT(b, t)] = g_down[AT(b, t)] & ~UNKNOWN;
        g_unknown(b, t)
    }
    :: d_step {
        g_down[AT(b, t)] & RESULT_OF(0) ->
        g_down[AT(b, t)] = g_down[AT(b, t)] & ~RESULT_OF(0);
        g_result(b, t, 0)
    }
    :: d_step {
        g_down[AT(b, t)] & RESULT_OF(1) ->
        g_down[AT(b, t)] = g_down[AT(b, t)] & ~RESULT_OF(1);
        g_result(b, t, 1)
    }
    :: d_step {
        g_st[t] == WAITING && UP(g_end[b]) && (b == 0 || !ALIKE) ->
        g_send(b, t, (g_resend[t] -> RESENT : SUBMIT));
        g_st[t] = SENT;
        g_broker[t] = b;
        g_fresh[t] = 1
    }
    /* once for each task */
    :: d_step { /* the data of an expected task */
        b == 0 && g_asked[t] -> g_line_up(t, 1)
    }
    :: d_step { /* answers are on the disk, the ledger says so, then they are acknowledged */
        b == 0 && g_st[t] == DONE -> commit(t); g_acknowledge(t); g_forget(t)
    }
    :: d_step { /* the same key again is the same task */
        b == 0 && c_request[t] == POST && !g_making[t] ->
#ifndef MUTATE_KEY
        if
        :: ledger[t] -> c_request[t] = CREATED
        :: else -> c_request[t] = SERVED; g_making[t] = 1
        fi
#else
        c_request[t] = SERVED;
        g_making[t] = 1
#endif
    }
    :: d_step {
        b == 0 && g_making[t] ->
        assert(ledger[t] == 0); /* one task of one key */
        ledger[t] = ACCEPTED;
        g_making[t] = 0;
        c_request[t] = (c_request[t] == SERVED -> CREATED : c_request[t]);
        g_line_up(t, 0)
    }
    :: d_step {
        b == 0 && c_request[t] == DELETE ->
        if
        :: ledger[t] == COMMITTED -> c_request[t] = COMPLETE
        :: else ->
#ifndef MUTATE_CANCEL
            ledger[t] = CANCELLED;
#endif
            g_cancel(t);
            c_request[t] = ENDED
        fi
    }
    :: d_step { early && b == 0 && g_fresh[t] -> early--; rounds = 0; g_fresh[t] = 0 }
    /* once for each broker, and once */
    :: d_step {
        early && t == 0 && g_end[b] == LIVE && g_say[b] == 0 ->
        early--; rounds = 0; g_tell(b, HEARTBEAT, 0)
    }
    :: d_step { faults && b == 0 && t == 0 -> faults--; rounds = 0; g_crash() }
    /* the broker */
    :: d_step {
        (g_up[AT(b, t)] & SUBMIT) ->
        g_up[AT(b, t)] = g_up[AT(b, t)] & ~SUBMIT;
        b_submit(b, t, 0)
    }
    :: d_step {
        (g_up[AT(b, t)] & RESENT) ->
        g_up[AT(b, t)] = g_up[AT(b, t)] & ~RESENT;
        b_submit(b, t, 1)
    }
    :: d_step {
        (g_up[AT(b, t)] & CANCEL) ->
        g_up[AT(b, t)] = g_up[AT(b, t)] & ~CANCEL;
        b_cancel(b, t);
        if
        :: b_orphan[AT(b, t)] ->
            j = (b_orphan[AT(b, t)] & BIT(0) -> 0 : 1);
            b_orphan[AT(b, t)] = b_orphan[AT(b, t)] & ~BIT(j);
            b_send(b, j, t, REVOKE)
        :: else
        fi
    }
    :: d_step {
        !WAITS(b, t) ->
        b_forget(b, t);
        b_st[AT(b, t)] = QUEUED
    }
    :: d_step { /* two heartbeats, and some worker has not sent its list */
        early && b_st[AT(b, t)] == PARKED ->
        early--; rounds = 0; b_forget(b, t);
        b_st[AT(b, t)] = QUEUED
    }
    :: d_step { t == 0 && bg_end[b] == STALE -> bg_end[b] = AWAY }
    :: d_step {
        t == 0 && g_say[b] == HELLO ->
        if
        :: b_met[b] == 2 -> /* it restarted: what it does not list is not wanted */
            for (i : 0 .. TASKS - 1) {
                if
                :: b_st[AT(b, i)] != 0 && !(g_list[b] & BIT(i)) -> b_cancel(b, i)
                :: else
                fi
            }
        :: else
        fi;
        b_met[b] = 1;
        bg_end[b] = LIVE;
        b_awaited(b);
        g_welcomed(b)
    }
    :: d_step { t == 0 && g_say[b] == HEARTBEAT -> b_awaited(b) }
    :: d_step { faults && t == 0 -> faults--; rounds = 0; b_crash(b) }
    :: d_step {
        g_up[AT(b, t)] & ACK_TO(0) ->
        g_up[AT(b, t)] = g_up[AT(b, t)] & ~ACK_TO(0);
        b_send(b, 0, t, ACK);
        b_cancel(b, t)
    }
    :: d_step {
        g_up[AT(b, t)] & ACK_TO(1) ->
        g_up[AT(b, t)] = g_up[AT(b, t)] & ~ACK_TO(1);
        b_send(b, 1, t, ACK);
        b_cancel(b, t)
    }
    /* the connection */
    :: d_step { losses && (g_up[AT(b, t)] & ACK_TO(0)) -> lose(g_up[AT(b, t)], ACK_TO(0)) }
    :: d_step {
        losses && (g_down[AT(b, t)] & RESULT_OF(0)) ->
        lose(g_down[AT(b, t)], RESULT_OF(0))
    }
    :: d_step { losses && (g_up[AT(b, t)] & ACK_TO(1)) -> lose(g_up[AT(b, t)], ACK_TO(1)) }
    :: d_step {
        losses && (g_down[AT(b, t)] & RESULT_OF(1)) ->
        lose(g_down[AT(b, t)], RESULT_OF(1))
    }
#ifndef CRASHES_ONLY
    :: d_step {
        faults && t == 0 && g_end[b] == LIVE ->
        faults--;
        rounds = 0;
        g_clear(b);
        g_end[b] = STALE;
        bg_end[b] = STALE
    }
#endif
    :: d_step { losses && (g_up[AT(b, t)] & SUBMIT) -> lose(g_up[AT(b, t)], SUBMIT) }
    :: d_step { losses && (g_up[AT(b, t)] & RESENT) -> lose(g_up[AT(b, t)], RESENT) }
    :: d_step { losses && (g_up[AT(b, t)] & CANCEL) -> lose(g_up[AT(b, t)], CANCEL) }
    :: d_step { losses && (g_down[AT(b, t)] & UNKNOWN) -> lose(g_down[AT(b, t)], UNKNOWN) }
    :: d_step {
        losses && t == 0 && g_say[b] ->
        losses--;
        rounds = 0;
        g_end[b] = (g_say[b] == HELLO -> AWAY : g_end[b]);
        g_say[b] = 0;
        g_list[b] = 0
    }
    od
}

/* --- client: gateway/client/client.c ---------------------------------------------------------- */
proctype client(byte t)
{
end:
    do
    :: d_step { c_st[t] == 0 && c_request[t] == 0 -> c_request[t] = POST }
    :: d_step { c_request[t] == CREATED -> c_request[t] = 0; c_st[t] = KNOWS }
    :: d_step { cancels && c_st[t] == KNOWS -> cancels--; rounds = 0; c_st[t] = STOPS }
    :: d_step { c_st[t] == STOPS && c_request[t] == 0 -> c_request[t] = DELETE }
    :: d_step { c_request[t] == ENDED -> c_request[t] = 0; c_st[t] = TOLD }
    :: d_step { c_request[t] == COMPLETE -> c_request[t] = 0; c_st[t] = TOO_LATE }
    :: d_step { /* its connection breaks: it does not know how far the request came */
        losses && c_request[t] -> losses--; rounds = 0; c_request[t] = 0
    }
    od
}

/* --- time ----------------------------------------------------------------------------------------
 * Messages are fast and timers slow: when nothing moves any more, all of them fire. This process
 * has no end label: a state in which nobody can do anything must be one that is FORGOTTEN. */
proctype clock()
{
    do
    :: d_step {
        QUIET && !FORGOTTEN ->
        rounds++;
        assert(rounds <= ROUNDS);
        g_tried = BIT(0) | BIT(1);
        for (i : 0 .. TASKS - 1) {
            g_fresh[i] = 0
        }
        for (i : 0 .. WORKERS * BROKERS - 1) {
            w_tell(i / BROKERS, i % BROKERS, HEARTBEAT);
            b_held(i / BROKERS, i % BROKERS, true)
        }
        for (i : 0 .. BROKERS - 1) {
            b_young[i] = 0;
            g_tell(i, HEARTBEAT, 0);
            b_awaited(i)
        }
        for (i : 0 .. WORKERS * TASKS - 1) {
            w_out[i] = (w_st[i] == HELD -> w_out[i] | TO_SEND : w_out[i])
        }
        skip
    }
    :: QUIET && FORGOTTEN ->
progress:
        skip
    od
}

init
{
    d_step {
        for (i : 0 .. WORKERS * BROKERS - 1) {
            w_end[i] = LIVE;
            bw_end[i] = LIVE
        }
        for (i : 0 .. BROKERS - 1) {
            g_end[i] = LIVE;
            bg_end[i] = LIVE;
            b_met[i] = 1;
            g_same[i] = 1
        }
        g_tried = BIT(0) | BIT(1)
    }
    atomic {
        byte w, b, t;
        for (t : 0 .. TASKS - 1) {
            run client(t);
            for (b : 0 .. BROKERS - 1) {
                run with_gateway(b, t);
                for (w : 0 .. WORKERS - 1) {
                    run pair(w, b, t)
                }
            }
        }
        run clock();
        w = 0; b = 0; t = 0
    }
}
