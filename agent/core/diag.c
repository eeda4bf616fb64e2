/* SPDX-License-Identifier: GPL-2.0-only */
/* The one way to fill a struct diag. Text that is too long is cut, never overrun. */
#include <stdio.h>

#include "diag.h"

int diag_set(struct diag *d, int err, const char *code, const char *pointer, const char *fmt, ...)
{
	va_list ap;

	if (!d)
		return -err;

	snprintf(d->code, sizeof(d->code), "%s", code);
	snprintf(d->pointer, sizeof(d->pointer), "%s", pointer);
	va_start(ap, fmt);
	vsnprintf(d->text, sizeof(d->text), fmt, ap);
	va_end(ap);
	return -err;
}
