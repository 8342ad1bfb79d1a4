/* worker.pml - steps of a worker: worker/agent_session.c, agent_results.c, agent_brokers.c */
inline w_clear(l)
{
    w_say[l] = 0;
    w_list[l] = 0;
    for (k : 0 .. TASKS - 1) {
        w_up[AT(l, k)] = 0;
        w_down[AT(l, k)] = 0
    }
    skip
}

inline w_drop(w, t)
{
    w_st[AT(w, t)] = 0;
    w_via[AT(w, t)] = 0;
    w_out[AT(w, t)] = 0
}

/* A list on its way, unless the one before is still there. */
inline w_tell(w, b, what)
{
    if
    :: w_say[LINK(w, b)] == 0 ->
        w_say[LINK(w, b)] = what;
        for (k : 0 .. TASKS - 1) {
            if
            :: w_st[AT(w, k)] != 0 -> w_list[LINK(w, b)] = w_list[LINK(w, b)] | BIT(k)
            :: else
            fi
        }
    :: else
    fi
}

inline w_ask(w, b)
{
    w_end[LINK(w, b)] = ASKS;
    w_tell(w, b, HELLO)
}

/* Its leases are nobody's now, its results go another way, the other broker hears the list. */
inline w_lost(w, b)
{
    for (i : 0 .. TASKS - 1) {
        if
        :: w_st[AT(w, i)] != 0 && w_via[AT(w, i)] == b -> w_via[AT(w, i)] = NOBODY
        :: else
        fi;
        if
        :: w_st[AT(w, i)] == HELD -> w_out[AT(w, i)] = w_out[AT(w, i)] | TO_SEND
        :: else
        fi
    }
    j = 1 - b;
    if
    :: w_end[LINK(w, j)] == LIVE -> w_tell(w, j, HEARTBEAT)
    :: else
    fi
}

/* The way that the task came; the next time the other one. */
inline w_answer(w, t)
{
    j = (w_via[AT(w, t)] == NOBODY -> 0 : w_via[AT(w, t)]);
    j = (w_out[AT(w, t)] / TURN -> 1 - j : j);
    j = (UP(w_end[LINK(w, j)]) -> j : 1 - j);
    if
    :: w_end[LINK(w, j)] == LIVE ->
        w_up[AT(LINK(w, j), t)] = w_up[AT(LINK(w, j), t)] | RESULT
    :: else
    fi;
    w_out[AT(w, t)] = (w_out[AT(w, t)] / TURN -> 0 : TURN)
}

inline w_crash(w)
{
    for (i : 0 .. TASKS - 1) {
        w_drop(w, i)
    }
    for (i : 0 .. BROKERS - 1) {
        bw_end[LINK(w, i)] = (bw_end[LINK(w, i)] == AWAY -> AWAY : STALE);
        w_clear(LINK(w, i));
        w_ask(w, i)
    }
    skip
}
