/* up_keys - keys for the links of a fleet that `convoy up` lets others reach
 *
 * Off loopback every link is a CURVE one: the gateway's key is made before the broker starts, which
 * is told it; the broker's own is read once it is up; workers of this machine join by a token like
 * any others. */
#ifndef CONVOY_GATEWAY_CLI_UP_KEYS_H
#define CONVOY_GATEWAY_CLI_UP_KEYS_H

#include "common/curve.h"

#include <stdio.h>

#define UP_URL_MAX 320

/* Whether links with this broker need keys; INVALID when the address is none. */
enum status up_keys_needed(bool *needed, const char *broker, struct error *why);

/* The gateway's public key; DATA/gateway.key is made when it is missing. */
enum status up_keys_gateway(char key[static CURVE_TEXT_SIZE], const char *data, struct error *why);

/* The broker's public key, from its state folder. */
enum status up_keys_broker(char key[static CURVE_TEXT_SIZE], const char *folder, struct error *why);

/* An address to connect to, of one to listen on: "every address" is this machine. */
void up_keys_reach(char into[static NET_ADDRESS_MAX], const char *listen);

/* The URL at which this machine asks a gateway that listens there: "every address" is localhost,
 * for which certificates are made, too. */
void up_keys_url(char into[static UP_URL_MAX], const char *http, bool tls);

/* What another terminal needs to be let in there: the certificate, and the first admin key where
 * one is in the data folder. Nothing for a gateway that asks for neither. */
void up_keys_say(FILE *out, const char *data, const char *url);

/* Whether this worker's state folder has an identity. */
bool up_keys_joined(const char *folder);

/* A line of the gateway at this URL that admits so many workers of this machine; wipe and free()
 * it. Exits, like every command, when the URL or a key file is no good. */
enum status up_keys_token(char **line, const char *data, const char *url, unsigned uses,
                          struct error *why);

#endif
