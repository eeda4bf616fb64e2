/* SPDX-License-Identifier: GPL-2.0-only */
/* Listening sockets: a stale Unix socket is replaced, anything else in the way is left alone. */
#include "httpd_listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../core/model.h"

#define BACKLOG 128

static int make_parent(const char *path, struct diag *d)
{
	const char *slash = strrchr(path, '/');
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];

	if (!slash || slash == path)
		return 0;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	if (!mkdir(dir, 0755) || errno == EEXIST)
		return 0;
	return diag_set(d, errno, "socket_dir", "/admin/socket",
			"%s cannot be made: %s. Make it, or set another admin.socket.", dir,
			strerror(errno));
}

static int try_connect(const struct sockaddr_un *sa)
{
	int fd, err;

	/* Not blocking: a living agent that is too busy to accept is living. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) ? -errno : 0;
	close(fd);
	return err;
}

static int clear_stale(const struct sockaddr_un *sa, struct diag *d)
{
	struct stat st;
	int err;

	if (lstat(sa->sun_path, &st))
		return errno == ENOENT ? 0
				       : diag_set(d, errno, "socket_path", "/admin/socket",
						  "%s: %s. Set another admin.socket.", sa->sun_path,
						  strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return diag_set(d, EEXIST, "socket_path", "/admin/socket",
				"%s is there and is not a socket. Move it away, or set another "
				"admin.socket.",
				sa->sun_path);
	err = try_connect(sa);
	if (err == -ECONNREFUSED)
		return unlink(sa->sun_path) && errno != ENOENT
			       ? diag_set(d, errno, "socket_path", "/admin/socket",
					  "the stale socket %s cannot be removed: %s. Remove it.",
					  sa->sun_path, strerror(errno))
			       : 0;
	if (!err || err == -EAGAIN)
		return diag_set(d, EADDRINUSE, "in_use", "/admin/socket",
				"another process listens on %s. Stop it, or set another "
				"admin.socket.",
				sa->sun_path);
	return diag_set(d, -err, "socket_path", "/admin/socket",
			"%s is there and cannot be tried: %s. Move it away, or set another "
			"admin.socket.",
			sa->sun_path, strerror(-err));
}

static int bind_unix(int fd, const struct sockaddr_un *sa, struct socket_file *file)
{
	struct stat st;

	if (bind(fd, (const struct sockaddr *)sa, sizeof(*sa)))
		return -errno;
	/* Until listen() nobody gets through, so the mode cannot come too late. */
	if (chmod(sa->sun_path, 0660) || lstat(sa->sun_path, &st) || listen(fd, BACKLOG)) {
		int err = -errno;

		unlink(sa->sun_path);
		return err;
	}
	memcpy(file->path, sa->sun_path, sizeof(file->path));
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	return 0;
}

int listen_unix(int *ret, const char *path, struct socket_file *file, struct diag *d)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd, err;

	if (!path[0] || strlen(path) >= sizeof(sa.sun_path))
		return diag_set(d, ENAMETOOLONG, "socket_path", "/admin/socket",
				"a socket's path has 1 to %zu bytes. Set a shorter admin.socket.",
				sizeof(sa.sun_path) - 1);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	err = make_parent(path, d);
	if (!err)
		err = clear_stale(&sa, d);
	if (err)
		return err;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	err = fd < 0 ? -errno : bind_unix(fd, &sa, file);
	if (err) {
		if (fd >= 0)
			close(fd);
		return diag_set(d, -err, err == -EADDRINUSE ? "in_use" : "listen", "/admin/socket",
				"cannot listen on %s: %s. Check the directory and its owner.", path,
				strerror(-err));
	}
	*ret = fd;
	return 0;
}

void listen_remove(const struct socket_file *file)
{
	struct stat st;

	if (file->path[0] && !lstat(file->path, &st) && st.st_dev == file->dev &&
	    st.st_ino == file->ino)
		unlink(file->path);
}

static socklen_t to_sockaddr(struct sockaddr_storage *ret, const struct endpoint *e)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;

	memset(ret, 0, sizeof(*ret));
	if (endpoint_is_v4(e)) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(e->port);
		memcpy(&v4->sin_addr, e->addr + 12, 4);
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(e->port);
	memcpy(&v6->sin6_addr, e->addr, 16);
	return sizeof(*v6);
}

int listen_tcp(int *ret, const struct endpoint *e, struct diag *d)
{
	struct sockaddr_storage sa;
	socklen_t len = to_sockaddr(&sa, e);
	char text[ENDPOINT_TEXT_LEN];
	int fd, one = 1, err = 0;

	fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&sa, len) || listen(fd, BACKLOG))
		err = -errno;
	if (!err) {
		*ret = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	return diag_set(d, -err, err == -EADDRINUSE ? "in_use" : "listen", "/admin/listen",
			"cannot listen on %s: %s. %s.", endpoint_text(e, text), strerror(-err),
			err == -EADDRINUSE ? "Stop what listens there (ss -ltnp), or set another "
					     "admin.listen"
					   : "Set another admin.listen");
}
