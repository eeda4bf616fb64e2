/* SPDX-License-Identifier: GPL-2.0-only */
/* One line an event on stderr: level, message, key=value pairs. */
#ifndef ZDDLB_IO_LOG_H
#define ZDDLB_IO_LOG_H

enum log_level { LOG_ERROR_LEVEL, LOG_WARN_LEVEL, LOG_INFO_LEVEL, LOG_DEBUG_LEVEL };

void log_set_level(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR_LEVEL, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN_LEVEL, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO_LEVEL, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG_LEVEL, __VA_ARGS__)

#endif
