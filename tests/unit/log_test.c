/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../../agent/io/log.h"

/* What one message becomes on stderr. */
static void expect(const char *line, enum log_level level, const char *text)
{
	char got[16384];
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	errno = EXDEV;
	log_write(level, "%s", text);
	assert_int_equal(errno, EXDEV);
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = read(fds[0], got, sizeof(got) - 1);
	close(fds[0]);
	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, line);
}

static void a_message_is_one_line_with_its_level(void **state)
{
	(void)state;
	expect("level=info agent started version=1\n", LOG_INFO_LEVEL, "agent started version=1");
	expect("level=error bad\n", LOG_ERROR_LEVEL, "bad");
	expect("", LOG_DEBUG_LEVEL, "unheard");
	log_set_level(LOG_DEBUG_LEVEL);
	expect("level=debug heard\n", LOG_DEBUG_LEVEL, "heard");
	log_set_level(LOG_INFO_LEVEL);
}

static void what_comes_from_outside_forges_no_line(void **state)
{
	(void)state;
	expect("level=warn name=x\\x0a<3>level=error\\x1b[2J\\x7f\n", LOG_WARN_LEVEL,
	       "name=x\n<3>level=error\x1b[2J\x7f");
	expect("level=warn \\xc2\\x9b2J \xc3\xa9\n", LOG_WARN_LEVEL,
	       "\xc2\x9b"
	       "2J \xc3\xa9");
}

static void a_message_of_any_length_is_cut_to_one_line(void **state)
{
	static char text[8192], line[16384];

	(void)state;
	memset(text, '\n', sizeof(text) - 1);
	strcpy(line, "level=info ");
	for (int i = 0; i < 2047; i++)
		memcpy(line + 11 + i * 4, "\\x0a", 5);
	strcat(line, "\n");
	expect(line, LOG_INFO_LEVEL, text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_is_one_line_with_its_level),
		cmocka_unit_test(what_comes_from_outside_forges_no_line),
		cmocka_unit_test(a_message_of_any_length_is_cut_to_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
