/* SPDX-License-Identifier: GPL-2.0-only */
/* Clean text, styles, tables. See cli_table.h. */
#include "cli_table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CELL_LEN 512
#define GAP      2

static const char *const sgr[] = {
	[STYLE_PLAIN] = "",        [STYLE_BOLD] = "\033[1m",  [STYLE_DIM] = "\033[2m",
	[STYLE_GOOD] = "\033[32m", [STYLE_WARN] = "\033[33m", [STYLE_BAD] = "\033[31m",
};

/* Length of the printable UTF-8 sequence at `s`; 0: none is there. */
static size_t printable(const unsigned char *s)
{
	unsigned long code;
	size_t len;

	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		len = 2;
	else if ((s[0] & 0xf0) == 0xe0)
		len = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		len = 4;
	else
		return 0;

	code = s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	/* C1 controls, overlong forms, surrogates, and the marks that turn text around. */
	if (code < 0xa0 || (len == 3 && code < 0x800) || (len == 4 && code < 0x10000) ||
	    (code >= 0xd800 && code < 0xe000) || code > 0x10ffff ||
	    (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
	    (code >= 0x2066 && code <= 0x2069) || code == 0xfeff)
		return 0;
	return len;
}

const char *cli_clean(char *buf, size_t room, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n = 0;

	while (*s) {
		size_t len = printable(s);

		if (n + (len ? len : 1) >= room)
			break;
		if (len)
			memcpy(buf + n, s, len);
		else
			buf[n] = '?';
		n += len ? len : 1;
		s += len ? len : 1;
	}
	buf[n] = '\0';
	return buf;
}

size_t cli_width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void put_styled(const struct cli_out *o, enum cli_style style, const char *text)
{
	bool styled = o->colour && style != STYLE_PLAIN && *text;

	fprintf(o->file, "%s%s%s", styled ? sgr[style] : "", text, styled ? "\033[0m" : "");
}

void cli_put(const struct cli_out *o, enum cli_style style, const char *fmt, ...)
{
	char raw[2048], line[2048];
	char *rest = raw;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);

	/* Line ends are ours to give, so text is cleaned between them. */
	while (*rest) {
		size_t len = strcspn(rest, "\n");
		bool ended = rest[len] == '\n';

		rest[len] = '\0';
		put_styled(o, style, cli_clean(line, sizeof(line), rest));
		if (ended)
			fputc('\n', o->file);
		rest += len + ended;
	}
}

struct cell {
	char *text;
	enum cli_style style;
};

struct cli_table {
	const struct cli_column *columns;
	size_t ncolumns;
	struct cell *cells;
	size_t ncells, room;
};

struct cli_table *cli_table_new(const struct cli_column *columns, size_t n)
{
	struct cli_table *t = calloc(1, sizeof(*t));

	if (t) {
		t->columns = columns;
		t->ncolumns = n;
	}
	return t;
}

static bool grow(struct cli_table *t)
{
	size_t room = t->room ? t->room * 2 : 64;
	struct cell *cells;

	if (t->ncells < t->room)
		return true;
	cells = realloc(t->cells, room * sizeof(*cells));
	if (!cells)
		return false;
	t->cells = cells;
	t->room = room;
	return true;
}

void cli_table_cell(struct cli_table *t, enum cli_style style, const char *fmt, ...)
{
	char raw[CELL_LEN], text[CELL_LEN];
	va_list ap;

	if (!t || !grow(t))
		return;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	t->cells[t->ncells++] = (struct cell){
		.text = strdup(cli_clean(text, sizeof(text), raw)),
		.style = style,
	};
}

static const char *cell_text(const struct cli_table *t, size_t i)
{
	return i < t->ncells && t->cells[i].text ? t->cells[i].text : "";
}

/* 0: nothing stands in the column. */
static size_t column_width(const struct cli_table *t, size_t column)
{
	size_t widest = 0;

	for (size_t i = column; i < t->ncells; i += t->ncolumns) {
		size_t width = cli_width(cell_text(t, i));

		if (width > widest)
			widest = width;
	}
	if (widest && cli_width(t->columns[column].title) > widest)
		widest = cli_width(t->columns[column].title);
	return widest;
}

/* Spaces are owed until the next text comes, so that no line ends in them. */
static void put_cell(const struct cli_out *o, const struct cli_column *column, size_t width,
		     const struct cell *cell, size_t *owed)
{
	const char *text = cell->text ? cell->text : "";
	size_t pad = width - cli_width(text);

	if (!width)
		return;
	if (column->right)
		*owed += pad;
	if (*text) {
		fprintf(o->file, "%*s", (int)*owed, "");
		put_styled(o, cell->style, text);
		*owed = 0;
	}
	*owed += GAP + (column->right ? 0 : pad);
}

static void put_title(const struct cli_out *o, const struct cli_column *column, size_t width,
		      size_t *owed)
{
	char title[64];
	struct cell cell = { .text = title, .style = STYLE_DIM };

	snprintf(title, sizeof(title), "%s", column->title);
	put_cell(o, column, width, &cell, owed);
}

void cli_table_print(const struct cli_table *t, const struct cli_out *o, int indent)
{
	size_t owed = (size_t)indent;
	size_t *widths;

	if (!t || !t->ncells)
		return;
	widths = calloc(t->ncolumns, sizeof(*widths));
	if (!widths)
		return;
	for (size_t c = 0; c < t->ncolumns; c++) {
		widths[c] = column_width(t, c);
		put_title(o, &t->columns[c], widths[c], &owed);
	}
	for (size_t i = 0; i < t->ncells; i++) {
		size_t c = i % t->ncolumns;

		if (c == 0) {
			fputc('\n', o->file);
			owed = (size_t)indent;
		}
		put_cell(o, &t->columns[c], widths[c], &t->cells[i], &owed);
	}
	fputc('\n', o->file);
	free(widths);
}

void cli_table_free(struct cli_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->ncells; i++)
		free(t->cells[i].text);
	free(t->cells);
	free(t);
}
