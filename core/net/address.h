/*
 * core/net/address.h: which addresses are of the public Internet. What is not could be this server itself, its
 * neighbours, or a cloud's metadata, to which no tenant may send it.
 * Source: IANA's registries of special-purpose addresses (RFC 6890), for IPv4 and IPv6.
 * Threads: values, no state.
 */
#ifndef WR_ADDRESS_H
#define WR_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* false for every family but IPv4 and IPv6 too. IPv4 addresses inside IPv6 ones are judged as what they lead to. */
bool wr_address_public(const struct sockaddr *address);

#endif
