/* SPDX-License-Identifier: BSD-3-Clause */
/* The registers of the server sample, for the device and its driver. */
#ifndef SAMPLE_SERVER_H
#define SAMPLE_SERVER_H

enum {
    SERVER_IDENT,
    SERVER_TIMER,
    SERVER_ADDRESS,
    SERVER_ADDRESS_HIGH,
    SERVER_LENGTH,
    SERVER_VALUE,
    SERVER_COMMAND,
    SERVER_STATUS,
    SERVER_REGISTERS
};

#define SERVER_IDENT_VALUE 0x76667573u

/* COMMAND */
#define SERVER_FILL 1u /* LENGTH bytes at ADDRESS become VALUE, through the mapping */
#define SERVER_ADD  2u /* VALUE is added to each of them, by messages */

#define SERVER_BAR1_SIZE 16384u

#endif
