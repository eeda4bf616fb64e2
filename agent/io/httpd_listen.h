/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of httpd: listening sockets, and the file of the Unix one. Not for other modules. */
#ifndef ZDDLB_IO_HTTPD_LISTEN_H
#define ZDDLB_IO_HTTPD_LISTEN_H

#include <sys/types.h>

struct diag;
struct endpoint;

/* The socket file we made; path "" if none. */
struct socket_file {
	char path[108];
	dev_t dev;
	ino_t ino;
};

int listen_unix(int *ret, const char *path, struct socket_file *file, struct diag *d);
int listen_tcp(int *ret, const struct endpoint *e, struct diag *d);
/* Remove the file unless somebody else has put another there. */
void listen_remove(const struct socket_file *file);

#endif
