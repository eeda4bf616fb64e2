/* SPDX-License-Identifier: GPL-2.0-only */
/* Tells systemd about the state of the service: one datagram to $NOTIFY_SOCKET (sd_notify(3)). */
#ifndef ZDDLB_IO_NOTIFY_H
#define ZDDLB_IO_NOTIFY_H

/* "READY=1", "STOPPING=1". Does nothing when systemd did not start us. */
void notify_state(const char *state);

#endif
