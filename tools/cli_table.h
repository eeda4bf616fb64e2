/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Output for people: styled text and tables that fit their contents. Everything that is printed
 * here is cleaned first: what comes from a backend or an operator must not steer the terminal.
 */
#ifndef ZDDLB_CLI_TABLE_H
#define ZDDLB_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum cli_style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_WARN, STYLE_BAD };

/* Where output goes. */
struct cli_out {
	FILE *file;
	bool colour;
};

/* Copy `text` with control characters (C0, DEL, C1) and broken UTF-8 as '?'. Returns buf. */
const char *cli_clean(char *buf, size_t room, const char *text);
/* Columns that a cleaned text takes. */
size_t cli_width(const char *text);

void cli_put(const struct cli_out *o, enum cli_style style, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

struct cli_column {
	const char *title;
	bool right;
};

struct cli_table;
/* `columns` must outlive the table. NULL: out of memory; every function takes that. */
struct cli_table *cli_table_new(const struct cli_column *columns, size_t n);
/* The next cell, row by row. */
void cli_table_cell(struct cli_table *t, enum cli_style style, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Columns without any text are left out. */
void cli_table_print(const struct cli_table *t, const struct cli_out *o, int indent);
void cli_table_free(struct cli_table *t);

#endif
