/* broker.pml - steps of a broker: broker/core/events.c, reconcile.c, orphans.c, sessions.c */
inline b_forget(b, t)
{
    b_st[AT(b, t)] = 0;
    b_holder[AT(b, t)] = 0;
    b_unlisted[AT(b, t)] = 0;
    b_heard[AT(b, t)] = 0
}

inline b_lease(b, t, w)
{
    b_st[AT(b, t)] = LEASED;
    b_holder[AT(b, t)] = w;
    b_unlisted[AT(b, t)] = 0;
    b_heard[AT(b, t)] = 0
}

inline b_requeue(b, t)
{
#ifndef MUTATE_REQUEUE
    b_forget(b, t);
    b_st[AT(b, t)] = QUEUED
#else
    skip
#endif
}

inline b_send(b, w, t, what)
{
    if
    :: bw_end[LINK(w, b)] == LIVE ->
        w_down[AT(LINK(w, b), t)] = w_down[AT(LINK(w, b), t)] | what
    :: else
    fi
}

/* CANCEL, RESULT_ACK, or not in the list of a gateway that restarted. */
inline b_cancel(b, t)
{
    if
    :: b_st[AT(b, t)] == LEASED -> b_send(b, b_holder[AT(b, t)], t, REVOKE)
    :: else
    fi;
    b_forget(b, t)
}

inline b_worker_gone(b, w)
{
    bw_end[LINK(w, b)] = AWAY;
    for (j : 0 .. TASKS - 1) {
        if
        :: b_st[AT(b, j)] == LEASED && b_holder[AT(b, j)] == w -> b_requeue(b, j)
        :: b_st[AT(b, j)] == DONE && b_holder[AT(b, j)] == w -> b_forget(b, j)
        :: else
        fi;
        b_orphan[AT(b, j)] = b_orphan[AT(b, j)] & ~BIT(w)
    }
    skip
}

/* A worker's list: what it has is leased to it, what two heartbeats do not name is lost. */
inline b_held(b, w, beat)
{
    for (j : 0 .. TASKS - 1) {
        b_orphan[AT(b, j)] = b_orphan[AT(b, j)] & ~BIT(w);
        if
        :: w_list[LINK(w, b)] & BIT(j) ->
            if
            :: b_st[AT(b, j)] == 0 -> b_orphan[AT(b, j)] = b_orphan[AT(b, j)] | BIT(w)
            :: b_st[AT(b, j)] == PARKED || b_st[AT(b, j)] == QUEUED -> b_lease(b, j, w)
            :: (b_st[AT(b, j)] == LEASED || b_st[AT(b, j)] == DONE) && b_holder[AT(b, j)] == w ->
                b_unlisted[AT(b, j)] = 0
            :: else
            fi
        :: !(w_list[LINK(w, b)] & BIT(j)) && beat &&
            (b_st[AT(b, j)] == LEASED || b_st[AT(b, j)] == DONE) && b_holder[AT(b, j)] == w ->
            if
            :: b_unlisted[AT(b, j)] == 0 -> b_unlisted[AT(b, j)] = 1
            :: b_unlisted[AT(b, j)] == 1 && b_st[AT(b, j)] == LEASED -> b_requeue(b, j)
            :: else -> b_forget(b, j)
            fi
        :: else
        fi;
        if
        :: b_st[AT(b, j)] == PARKED -> b_heard[AT(b, j)] = b_heard[AT(b, j)] | BIT(w)
        :: else
        fi
    }
    w_say[LINK(w, b)] = 0;
    w_list[LINK(w, b)] = 0
}

/* A gateway's list: it hears what neither this broker nor any worker has. */
inline b_awaited(b)
{
    for (j : 0 .. TASKS - 1) {
        if
        :: (g_list[b] & BIT(j)) && b_st[AT(b, j)] == 0 && b_orphan[AT(b, j)] == 0 ->
            g_down[AT(b, j)] = g_down[AT(b, j)] | UNKNOWN
        :: else
        fi
    }
    g_say[b] = 0;
    g_list[b] = 0
}

/* A worker that lists it already has it; what is sent again waits until all have sent a list. */
inline b_submit(b, t, resent)
{
    if
    :: b_st[AT(b, t)] == 0 ->
        if
        :: b_orphan[AT(b, t)] ->
            j = (b_orphan[AT(b, t)] & BIT(0) -> 0 : 1);
            b_orphan[AT(b, t)] = b_orphan[AT(b, t)] & ~BIT(j);
            b_lease(b, t, j)
        :: else -> b_st[AT(b, t)] = (resent -> PARKED : QUEUED)
        fi
    :: else
    fi
}

/* The first result ends the task here, whoever sends it; the gateway gets every one. */
inline b_result(b, w, t)
{
    if
    :: b_st[AT(b, t)] != 0 && b_st[AT(b, t)] != DONE ->
        if
        :: b_st[AT(b, t)] == LEASED && b_holder[AT(b, t)] != w ->
            b_send(b, b_holder[AT(b, t)], t, REVOKE)
        :: else
        fi;
        b_lease(b, t, w);
        b_st[AT(b, t)] = DONE
    :: else
    fi;
    if
    :: bg_end[b] == LIVE -> g_down[AT(b, t)] = g_down[AT(b, t)] | RESULT_OF(w)
    :: else
    fi
}

inline g_clear(b)
{
    g_say[b] = 0;
    g_list[b] = 0;
    for (k : 0 .. TASKS - 1) {
        g_up[AT(b, k)] = 0;
        g_down[AT(b, k)] = 0
    }
    skip
}

/* It comes back at once and knows nothing. */
inline b_crash(b)
{
    b_young[b] = 1;
    b_met[b] = 0;
    g_same[b] = 0;
    bg_end[b] = AWAY;
    g_end[b] = (UP(g_end[b]) -> STALE : AWAY);
    g_clear(b);
    for (i : 0 .. TASKS - 1) {
        b_forget(b, i);
        b_orphan[AT(b, i)] = 0
    }
    for (i : 0 .. WORKERS - 1) {
        bw_end[LINK(i, b)] = AWAY;
        w_end[LINK(i, b)] = (UP(w_end[LINK(i, b)]) -> STALE : AWAY);
        w_clear(LINK(i, b))
    }
    skip
}
