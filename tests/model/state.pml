/* state.pml - sessions, messages, and what each part remembers; what must hold */
#define WORKERS 2
#define BROKERS 2
#define NOBODY  2 /* no broker */

#define LINK(w, b) ((w) * BROKERS + (b)) /* between worker and broker */
#define AT(i, t)   ((i) * TASKS + (t))   /* task t of link, broker or worker i */
#define BIT(i)     (1 << (i))

/* One end of a session. Messages travel while both ends are LIVE; both break at the same time and
 * find out apart from each other. */
#define AWAY  0
#define ASKS  1 /* a peer's end: HELLO is under way */
#define LIVE  2
#define STALE 3 /* broken, not noticed yet: what is sent is lost */
#define UP(end) ((end) == LIVE || (end) == STALE) /* as its owner believes */

/* Messages under way, as sets: control and data are two connections, so any order is possible.
 * A list (HELLO, HEARTBEAT) is a picture of the moment when it was sent. */
#define HELLO     1
#define HEARTBEAT 2

#define RESULT 1 /* worker to broker */
#define BACK   2 /* NACK, CRASHED: the task is given back */

#define DISPATCH 1 /* broker to worker */
#define ACK      2 /* RESULT_ACK */
#define REVOKE   4

#define SUBMIT      1 /* gateway to broker */
#define RESENT      2 /* SUBMIT with bit 0 of FLAGS */
#define CANCEL      4
#define ACK_TO(w)   (8 << (w))
#define UNKNOWN     1 /* broker to gateway */
#define RESULT_OF(w) (2 << (w))

byte w_end[WORKERS * BROKERS];            /* the worker's end */
byte bw_end[WORKERS * BROKERS];           /* the broker's */
byte w_say[WORKERS * BROKERS];            /* HELLO or HEARTBEAT under way */
byte w_list[WORKERS * BROKERS];           /* its HELD, a bit a task */
byte w_up[WORKERS * BROKERS * TASKS];     /* messages about a task, to the broker */
byte w_down[WORKERS * BROKERS * TASKS];   /* to the worker */

byte g_end[BROKERS], bg_end[BROKERS];     /* the gateway's end, the broker's */
byte g_say[BROKERS], g_list[BROKERS];     /* HELLO or HEARTBEAT, its AWAITED */
byte g_up[BROKERS * TASKS], g_down[BROKERS * TASKS];

/* Worker, per task: agent_task.c. */
#define HAVE 1
#define HELD 2 /* the result, until it is acknowledged */
#define TO_SEND 1
#define TURN    2 /* which way the next time */
byte w_st[WORKERS * TASKS];
byte w_via[WORKERS * TASKS];              /* whose lease it is */
byte w_out[WORKERS * TASKS];              /* HELD: TO_SEND, TURN */

/* Broker, per task: broker/core/tasks.c. */
#define PARKED 1
#define QUEUED 2
#define LEASED 3
#define DONE   4
byte b_st[BROKERS * TASKS];
byte b_holder[BROKERS * TASKS];           /* LEASED, DONE: the worker */
byte b_unlisted[BROKERS * TASKS];         /* heartbeats of it without the task */
byte b_heard[BROKERS * TASKS];            /* PARKED: workers that sent a list since */
byte b_orphan[BROKERS * TASKS];           /* workers that list what nobody submitted here */
bit b_young[BROKERS];                     /* just started: what is resent stays parked */
byte b_met[BROKERS];                      /* the gateway: 0 never, 1, 2: in its life before */

/* Gateway, per task: gateway/pending.h; DONE as above: not committed yet. */
#define EXPECTED 1
#define WAITING  2
#define SENT     3
byte g_st[TASKS];
byte g_broker[TASKS];                     /* SENT: who has it */
bit g_resend[TASKS], g_fresh[TASKS];      /* sent within the last heartbeat */
bit g_asked[TASKS];                       /* EXPECTED: nobody knows it, its data is wanted */
byte g_strangers[TASKS];                  /* EXPECTED: brokers that do not know it */
byte g_worker[TASKS], g_via[TASKS];       /* DONE: who has the result, who brought it */
bit g_making[TASKS];                      /* a request came, the ledger is being written */
bit g_moved[BROKERS * TASKS];             /* went elsewhere when this broker was lost */
bit g_same[BROKERS];                      /* the broker has not restarted since our last session */
byte g_tried;                             /* brokers that had a session, or time for one */

/* The ledger, which survives. */
#define ACCEPTED  1
#define CANCELLED 2
#define COMMITTED 3
byte ledger[TASKS];

/* The client, per task, and its request. */
#define KNOWS     1 /* that its task was accepted */
#define STOPS     2 /* wants it cancelled */
#define TOLD      3 /* that it is CANCELLED */
#define TOO_LATE  4 /* it was COMPLETED */
#define POST      1
#define SERVED    2 /* the gateway writes the ledger */
#define CREATED   3
#define DELETE    4
#define ENDED     5 /* CANCELLED */
#define COMPLETE  6 /* COMPLETED before */
byte c_st[TASKS];
byte c_request[TASKS];

byte faults = FAULTS, losses = LOSSES, early = EARLY, cancels = CANCELS, rounds;

hidden byte i, j, k; /* inside a step; a step that ends with a loop needs a skip behind it */

/* --- what holds ---------------------------------------------------------------------------------
 * At every commit: the task was submitted, its result was not committed before, and nobody was told
 * that it is cancelled. */
inline commit(t)
{
    assert(ledger[t] != 0);
    assert(ledger[t] != COMMITTED);
    assert(ledger[t] != CANCELLED && c_st[t] != TOLD && c_request[t] != ENDED);
    ledger[t] = COMMITTED
}

#define ALL2(a, p) (a[0] p && a[1] p)
#define ALL4(a, p) (ALL2(a, p) && a[2] p && a[3] p)
#define ALL8(a, p) (ALL4(a, p) && a[4] p && a[5] p && a[6] p && a[7] p)
#if TASKS == 1
#define TASK(a, p)   (a[0] p)
#define PAIR(a, p)   ALL2(a, p)
#define CROSS(a, p)  ALL4(a, p)
#define HELD_BACK    (WAITS(0, 0) && WAITS(1, 0))
#define OVER         ENDS(0)
#else
#define TASK(a, p)   ALL2(a, p)
#define PAIR(a, p)   ALL4(a, p)
#define CROSS(a, p)  ALL8(a, p)
#define HELD_BACK    (WAITS(0, 0) && WAITS(1, 0) && WAITS(0, 1) && WAITS(1, 1))
#define OVER         (ENDS(0) && ENDS(1))
#endif
#define ENDS(t)     (ledger[t] > ACCEPTED || c_st[t] == TOLD)
#define WAITS(b, t) (b_st[AT(b, t)] != PARKED || b_young[b] || !EVERYBODY_LISTED(b, t))
#define EVERYBODY_LISTED(b, t)                                                                     \
    ((bw_end[LINK(0, b)] == AWAY || (b_heard[AT(b, t)] & BIT(0))) &&                               \
     (bw_end[LINK(1, b)] == AWAY || (b_heard[AT(b, t)] & BIT(1))))
#define SILENT                                                                                     \
    (ALL4(w_say, == 0) && ALL2(g_say, == 0) && CROSS(w_up, == 0) && CROSS(w_down, == 0) &&         \
     PAIR(g_up, == 0) && PAIR(g_down, == 0))
#define CONNECTED (ALL4(w_end, == LIVE) && ALL2(g_end, == LIVE))
#define IDLE                                                                                       \
    (PAIR(b_st, != QUEUED) && HELD_BACK && PAIR(w_st, != HAVE) && PAIR(w_out, % 2 == 0) &&         \
     TASK(g_st, != WAITING) && TASK(g_st, != DONE) && TASK(g_asked, == 0) &&                       \
     TASK(g_making, == 0) && TASK(c_request, == 0) && TASK(c_st, != 0) && TASK(c_st, != STOPS))
/* Nothing moves before a timer fires. */
#define QUIET (SILENT && CONNECTED && IDLE)
/* Every task has ended and nobody remembers it but the ledger. */
#define FORGOTTEN                                                                                  \
    (OVER && TASK(g_st, == 0) && PAIR(w_st, == 0) && PAIR(b_st, == 0) &&       \
     PAIR(b_orphan, == 0))

/* Until something goes wrong, brokers are alike and workers are: one choice stands for both. */
#if TASKS == 1
#define ALIKE (faults == FAULTS && losses == LOSSES && early == EARLY)
#else
#define ALIKE false
#endif
