/* gateway.pml - steps of the gateway, gateway/fleet_take.c, fleet_brokers.c, fleet.c, and of its
 * ledger, gateway/dataset/save.c */
inline g_send(b, t, what)
{
    if
    :: g_end[b] == LIVE -> g_up[AT(b, t)] = g_up[AT(b, t)] | what
    :: else
    fi
}

inline g_forget(t)
{
    g_st[t] = 0;
    g_broker[t] = 0;
    g_resend[t] = 0;
    g_fresh[t] = 0;
    g_asked[t] = 0;
    g_strangers[t] = 0;
    g_worker[t] = 0;
    g_via[t] = 0
}

inline g_line_up(t, again)
{
    g_forget(t);
    g_resend[t] = again;
    g_broker[t] = NOBODY;
    g_st[t] = WAITING
}

/* Through the broker that brought the result, and to the one that was given the task. */
inline g_acknowledge(t)
{
    j = (UP(g_end[g_via[t]]) -> g_via[t] : 1 - g_via[t]);
    if
    :: UP(g_end[j]) ->
        g_send(j, t, ACK_TO(g_worker[t]));
        if
        :: g_broker[t] != NOBODY && g_broker[t] != j ->
            if
            :: UP(g_end[g_broker[t]]) -> g_send(g_broker[t], t, ACK_TO(g_worker[t]))
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

/* Its client does not want it: whoever has it may stop. */
inline g_cancel(t)
{
    if
    :: g_st[t] == DONE -> g_acknowledge(t)
    :: g_st[t] == EXPECTED -> g_send(0, t, CANCEL); g_send(1, t, CANCEL)
    :: g_st[t] == SENT -> g_send(g_broker[t], t, CANCEL)
    :: else
    fi;
    g_forget(t)
}

/* A list on its way; `all`: with what was sent just now. */
inline g_tell(b, what, all)
{
    if
    :: g_say[b] == 0 ->
        g_say[b] = what;
        for (k : 0 .. TASKS - 1) {
            if
            :: g_st[k] == EXPECTED ||
                (g_st[k] == SENT && g_broker[k] == b && (all || !g_fresh[k])) ->
                g_list[b] = g_list[b] | BIT(k)
            :: else
            fi
        }
    :: else
    fi
}

inline g_ask(b)
{
    g_end[b] = ASKS;
    g_tell(b, HELLO, 1)
}

/* Tasks of brokers that are not there: the other one is asked about them from now on. */
inline g_move_strays()
{
    for (k : 0 .. TASKS - 1) {
        if
        :: g_st[k] == SENT ->
            if
            :: !UP(g_end[g_broker[k]]) && UP(g_end[1 - g_broker[k]]) ->
                g_moved[AT(g_broker[k], k)] = 1;
                g_broker[k] = 1 - g_broker[k];
                g_fresh[k] = 0
            :: else
            fi
        :: else
        fi
    }
    skip
}

/* WELCOME. The same start of the broker still has what went elsewhere. */
inline g_welcomed(b)
{
    g_end[b] = LIVE;
    g_tried = g_tried | BIT(b);
    for (i : 0 .. TASKS - 1) {
        if
        :: g_moved[AT(b, i)] && g_same[b] -> g_send(b, i, CANCEL)
        :: else
        fi;
        g_moved[AT(b, i)] = 0
    }
    g_same[b] = 1;
    g_move_strays()
}

/* A broker that may know an expected task: it is here, or had no time yet to come. */
#define MAY_KNOW(b) (UP(g_end[b]) || !(g_tried & BIT(b)))

inline g_unknown(b, t)
{
    if
    :: g_st[t] == EXPECTED ->
        g_strangers[t] = g_strangers[t] | BIT(b);
        if
        :: !g_asked[t] && (!MAY_KNOW(0) || (g_strangers[t] & BIT(0))) &&
            (!MAY_KNOW(1) || (g_strangers[t] & BIT(1))) -> g_asked[t] = 1
        :: else
        fi
    :: g_st[t] == SENT && g_broker[t] == b && !g_fresh[t] -> g_line_up(t, 1)
    :: else
    fi
}

/* The first result of a task is taken, the others are acknowledged. */
inline g_result(b, t, w)
{
    if
    :: g_st[t] == EXPECTED || g_st[t] == WAITING || g_st[t] == SENT ->
        j = (g_st[t] == SENT -> g_broker[t] : NOBODY);
        g_forget(t);
        g_st[t] = DONE;
        g_broker[t] = j;
        g_worker[t] = w;
        g_via[t] = b
#ifdef MUTATE_COMMIT
    :: else -> commit(t)
#else
    :: g_st[t] == 0 -> g_send(b, t, ACK_TO(w))
    :: else
#endif
    fi
}

/* It comes back at once, with its ledger. */
inline g_crash()
{
    g_tried = 0;
    for (i : 0 .. TASKS - 1) {
        g_forget(i);
        g_making[i] = 0;
        c_request[i] = 0;
        if
        :: ledger[i] == ACCEPTED -> g_st[i] = EXPECTED; g_broker[i] = NOBODY
        :: else
        fi
    }
    for (i : 0 .. BROKERS - 1) {
        bg_end[i] = (bg_end[i] == AWAY -> AWAY : STALE);
        b_met[i] = (b_met[i] -> 2 : 0);
        g_same[i] = 0;
        g_clear(i);
        for (k : 0 .. TASKS - 1) {
            g_moved[AT(i, k)] = 0
        }
        g_ask(i)
    }
    skip
}
