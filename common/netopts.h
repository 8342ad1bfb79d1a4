/* netopts - socket options, addresses and peer events of libzmq, in one place
 *
 * Written against libzmq 4.3.4. Every socket of the fleet gets its options here and nowhere else.
 * Sockets are raw libzmq ones; each belongs to one thread, which calls these. */
#ifndef CONVOY_COMMON_NETOPTS_H
#define CONVOY_COMMON_NETOPTS_H

#include "common/status.h"

#include <zmq.h>

enum net_side {
    NET_BIND,   /* a ROUTER that peers connect to */
    NET_CONNECT /* a DEALER that connects to one broker */
};

/* Largest frame that libzmq lets in; a peer that sends a larger one is disconnected. 4 KiB are for
 * what may be added around the payload. */
#define NET_FRAME_MAX_CONTROL (64 * KIB + 4 * KIB)
#define NET_FRAME_MAX_DATA    (MIB + 4 * KIB)

/* Set every option before bind or connect. INTERNAL when libzmq refuses one. */
enum status net_options(void *socket, enum net_side side, size_t frame_max, struct error *why);

#define NET_ADDRESS_MAX 256 /* longest "tcp://HOST:PORT" and its NUL */

struct endpoint {
    char host[NET_ADDRESS_MAX]; /* as written, without the brackets of an IPv6 address */
    uint16_t port;              /* 0: any free port (written as 0 or "*") */
    bool ipv6;                  /* host is an IPv6 address */
    bool loopback;              /* 127.0.0.0/8, ::1 or localhost: nobody else can listen in */
};

/* Read "tcp://HOST:PORT": HOST is a name, an IPv4 address, an IPv6 one in brackets, or * where it
 * is an address to listen on. INVALID for anything else, with the form it should have. */
enum status endpoint_parse(struct endpoint *out, const char *text, struct error *why);

/* The same, and an address off loopback is INVALID, with the fix in the text, unless the link there
 * is a CURVE one. 0.0.0.0 and * are off loopback. */
enum status endpoint_check(const char *text, bool curve, struct error *why);

/* "HOST:PORT", as HTTP's addresses are written. */
enum status endpoint_parse_hostport(struct endpoint *out, const char *text, struct error *why);

/* Check the address, bind, and tell the real address (port 0 resolved) in `bound`, which may be
 * NULL. UNAVAILABLE when the address is in use; INVALID when it is off loopback and the socket has
 * no CURVE keys. */
enum status net_bind(void *socket, const char *address, char bound[NET_ADDRESS_MAX],
                     struct error *why);

/* Check the address, by the same rule, and connect. libzmq connects later and keeps trying: OK is
 * no connection. */
enum status net_connect(void *socket, const char *address, struct error *why);

/* The descriptor that a received frame came from, -1 if unknown. A hint: descriptors are reused, so
 * keep it with the session and check it. Take it from a payload frame, not the identity frame. */
int net_peer_fd(zmq_msg_t *frame);

/* Octets that came through `fd` so far, as the kernel counts; 0 when it is gone. */
uint64_t net_received(int fd);

/* Octets sent through `fd` that the other machine has acknowledged; 0 when it is gone. */
uint64_t net_delivered(int fd);

/* "ADDRESS:PORT" of the peer behind `fd`; "" when it is gone. Returns `into`. */
#define NET_PEER_SIZE 56
char *net_peer_address(int fd, char into[static NET_PEER_SIZE]);

/* Drop the one peer behind `fd`, by shutting its connection down. */
void net_kick(int fd);

/* --- connections coming and going ---
 * A PAIR socket beside the watched one; TCP only. Put net_monitor_socket into the poll set. */
struct net_monitor;

enum net_event_kind {
    NET_ACCEPTED,      /* bind side: a peer's connection, before its handshake */
    NET_CONNECTED,     /* connect side: TCP is up, before the handshake */
    NET_DISCONNECTED,  /* either side: this descriptor is gone (a killed peer: within a millisecond)
                        */
    NET_ACCEPT_FAILED, /* out of descriptors, most likely */
    NET_REFUSED,       /* either side: the ZAP handler did not admit the connecting side's key */
    NET_NO_HANDSHAKE,  /* either side: the handshake failed before that: no CURVE, a wrong server
                          key, no ZMTP. Its NET_DISCONNECTED follows */
    NET_RETRYING       /* connect side: nobody answered, libzmq will try again */
};

struct net_event {
    enum net_event_kind kind;
    int fd; /* of the connection; NET_ACCEPT_FAILED: the errno; NET_RETRYING: the wait in ms;
               NET_REFUSED: ZAP's status; NET_NO_HANDSHAKE: libzmq's reason */
};

/* Watch `socket` of `context`. Call before bind or connect. */
enum status net_monitor_open(struct net_monitor **out, void *context, void *socket,
                             struct error *why);

/* End the watch; call before closing the watched socket. Sets *self to NULL; NULL is fine. */
void net_monitor_close(struct net_monitor **self);

/* For zmq_poll. */
void *net_monitor_socket(const struct net_monitor *self);

/* Next event without waiting; false when there is none. */
bool net_monitor_next(struct net_monitor *self, struct net_event *event);

#endif
