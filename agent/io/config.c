/* SPDX-License-Identifier: GPL-2.0-only */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/diag.h"
#include "../core/model.h"
#include "config.h"
#include "config_keys.h"
#include "config_values.h"
#include "json.h"
#include "config_schema.h"

#define MAX_FRAGMENTS 1000

struct source {
	char *name;
	char *text;
	size_t len;
	struct json_object *json;
};

/* Where a part of the merged document came from. */
struct origin {
	size_t source;
	struct json_path merged, local;
};

/* The first source is the main file; the others are merged into its JSON. */
struct document {
	struct source *sources;
	size_t nsources;
	struct origin *origins;
	size_t norigins;
};

static void document_free(struct document *doc)
{
	for (size_t i = 0; i < doc->nsources; i++) {
		json_object_put(doc->sources[i].json);
		free(doc->sources[i].text);
		free(doc->sources[i].name);
	}
	free(doc->sources);
	free(doc->origins);
}

static int no_memory(struct diag *d)
{
	diag_set(d, ENOMEM, "no_memory", "", "out of memory");
	return -ENOMEM;
}

static int add_origin(struct document *doc, const struct origin *o)
{
	struct origin *grown = realloc(doc->origins, (doc->norigins + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	doc->origins = grown;
	grown[doc->norigins++] = *o;
	return 0;
}

static bool is_inside(const char *pointer, const struct json_path *outer)
{
	return !strncmp(pointer, outer->text, outer->len) &&
	       (pointer[outer->len] == '\0' || pointer[outer->len] == '/');
}

/* The last word on a part of the merged document; NULL: it is the main file's. */
static const struct origin *origin_of(const struct document *doc, const char *pointer)
{
	for (size_t i = doc->norigins; i > 0; i--) {
		if (is_inside(pointer, &doc->origins[i - 1].merged))
			return &doc->origins[i - 1];
	}
	return NULL;
}

/* Turn a complaint about the merged document into one about a file, with line and column. */
static void name_place(const struct document *doc, struct diag *d, const struct diag *found)
{
	const struct origin *o = origin_of(doc, found->pointer);
	const struct source *s = &doc->sources[o ? o->source : 0];
	char pointer[sizeof(found->pointer) * 2];
	struct json_place at;

	snprintf(pointer, sizeof(pointer), "%s%s", o ? o->local.text : "",
		 found->pointer + (o ? o->merged.len : 0));
	at = json_locate(s->text, s->len, JSON_COMMENTS, pointer);
	diag_set(d, 0, found->code, pointer, "%s line %u, column %u: %s", s->name, at.line,
		 at.column, found->text);
}

static int read_all(int fd, char *text, size_t size, size_t *ret_len)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = read(fd, text + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_len = len;
	return 0;
}

/* O_NONBLOCK: a FIFO at the path must not stop the agent. */
static int read_file(char **ret, size_t *ret_len, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text = NULL;
	struct stat st;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		err = -errno;
	else if (S_ISDIR(st.st_mode))
		err = -EISDIR;
	else if (!S_ISREG(st.st_mode))
		err = -ENODEV;
	else if (st.st_size > JSON_MAX_SIZE)
		err = -EFBIG;
	if (err)
		goto out;
	/* One more than allowed, so that a file that grows meanwhile is noticed. */
	text = malloc((size_t)st.st_size + 1);
	err = text ? read_all(fd, text, (size_t)st.st_size + 1, ret_len) : -ENOMEM;
	if (!err && *ret_len > (size_t)st.st_size)
		err = -EAGAIN;
	if (err)
		goto out;
	*ret = text;
	text = NULL;
out:
	free(text);
	close(fd);
	return err;
}

static int cannot_read(struct diag *d, int err, const char *path)
{
	static const struct {
		int err;
		const char *text;
	} cures[] = {
		{ EFBIG, "it is larger than 16 MiB" },
		{ ENODEV, "it is not a regular file" },
		{ EAGAIN, "it was being written; write a new file and rename it" },
	};
	const char *why = strerror(-err);

	for (size_t i = 0; i < sizeof(cures) / sizeof(cures[0]); i++) {
		if (cures[i].err == -err)
			why = cures[i].text;
	}
	diag_set(d, -err, "unreadable", "", "cannot read %.400s: %s", path, why);
	return err;
}

#define NAME_MAX_LEN 160

/* Takes `text`. Of a long name its end is kept, so that complaints have room for the reason. */
static int add_source(struct document *doc, const char *name, char *text, size_t len,
		      struct diag *d)
{
	size_t name_len = strlen(name);
	struct source *grown, *s;

	if (name_len > NAME_MAX_LEN)
		name += name_len - NAME_MAX_LEN;
	grown = realloc(doc->sources, (doc->nsources + 1) * sizeof(*grown));
	if (!grown) {
		free(text);
		return no_memory(d);
	}
	doc->sources = grown;
	s = &grown[doc->nsources++];
	*s = (struct source){ .name = strdup(name), .text = text, .len = len };
	if (!s->name)
		return no_memory(d);
	return json_parse(&s->json, text, len, s->name, JSON_COMMENTS, d);
}

static int add_file(struct document *doc, const char *path, struct diag *d)
{
	size_t len = 0;
	char *text = NULL;
	int err = read_file(&text, &len, path);

	if (err)
		return cannot_read(d, err, path);
	return add_source(doc, path, text, len, d);
}

static const char *name_of(struct json_object *j)
{
	struct json_object *name;

	if (!json_object_is_type(j, json_type_object) ||
	    !json_object_object_get_ex(j, "name", &name) ||
	    !json_object_is_type(name, json_type_string))
		return NULL;
	return json_object_get_string(name);
}

/* Index of the element of that name that came from another source; else where to append. */
static size_t merge_index(const struct document *doc, struct json_object *list, const char *key,
			  const char *name, size_t source)
{
	size_t n = json_object_array_length(list);

	for (size_t i = 0; name && i < n; i++) {
		const char *other = name_of(json_object_array_get_idx(list, i));
		struct json_path at = { .len = 0 };
		const struct origin *o;

		if (!other || strcmp(other, name) != 0)
			continue;
		json_path_key(&at, key);
		json_path_index(&at, i);
		o = origin_of(doc, at.text);
		if ((o ? o->source : 0) != source)
			return i;
	}
	return n;
}

static int merge_list(struct document *doc, size_t source, const char *key, struct json_object *to,
		      struct json_object *from)
{
	size_t n = json_object_array_length(from);

	for (size_t i = 0; i < n; i++) {
		struct json_object *item = json_object_array_get_idx(from, i);
		size_t index = merge_index(doc, to, key, name_of(item), source);
		struct origin o = { .source = source };

		json_path_key(&o.merged, key);
		json_path_index(&o.merged, index);
		json_path_key(&o.local, key);
		json_path_index(&o.local, i);
		if (add_origin(doc, &o))
			return -ENOMEM;
		item = json_object_get(item);
		if (json_object_array_put_idx(to, index, item)) {
			json_object_put(item);
			return -ENOMEM;
		}
	}
	return 0;
}

static int merge_map(struct document *doc, size_t source, const char *key, struct json_object *to,
		     struct json_object *from)
{
	json_object_object_foreach (from, name, item) {
		struct origin o = { .source = source };

		json_path_key(&o.merged, key);
		json_path_key(&o.merged, name);
		o.local = o.merged;
		if (add_origin(doc, &o))
			return -ENOMEM;
		item = json_object_get(item);
		if (json_object_object_add(to, name, item)) {
			json_object_put(item);
			return -ENOMEM;
		}
	}
	return 0;
}

static const struct {
	const char *key;
	enum json_type type;
	const char *what;
	int (*merge)(struct document *doc, size_t source, const char *key, struct json_object *to,
		     struct json_object *from);
} mergeable[] = {
	{ "interfaces", json_type_array, "a list", merge_list },
	{ "services", json_type_array, "a list", merge_list },
	{ "strategies", json_type_object, "an object of strategies by name", merge_map },
};

/* One of the keys that are merged. What is wrong in the main file is said when it is read. */
static int merge_key(struct document *doc, size_t source, size_t k, struct reader *r)
{
	struct json_object *root = doc->sources[0].json;
	const char *key = mergeable[k].key;
	struct json_object *to, *from;
	size_t before;
	int err;

	if (!json_object_object_get_ex(doc->sources[source].json, key, &from))
		return 0;
	if (!json_object_is_type(from, mergeable[k].type)) {
		before = json_path_key(&r->path, key);
		err = schema_wrong(r, from, "%s", mergeable[k].what);
		json_path_pop(&r->path, before);
		return err;
	}
	if (!json_object_object_get_ex(root, key, &to)) {
		to = mergeable[k].type == json_type_array ? json_object_new_array()
							  : json_object_new_object();
		if (!to || json_object_object_add(root, key, to)) {
			json_object_put(to);
			return -ENOMEM;
		}
	}
	if (!json_object_is_type(to, mergeable[k].type))
		return 0;
	return mergeable[k].merge(doc, source, key, to, from);
}

/* Complaints about the fragment as such; its origin is not known to name_place yet. */
static int check_fragment(struct document *doc, size_t source, struct reader *r)
{
	struct json_object *version;
	size_t before;
	int err;

	err = schema_check_keys(r, &config_fragment, doc->sources[source].json);
	if (err || !json_object_object_get_ex(doc->sources[source].json, "apiVersion", &version))
		return err;
	before = json_path_key(&r->path, "apiVersion");
	err = kind_api_version.read(r, NULL, version, NULL);
	json_path_pop(&r->path, before);
	return err;
}

static int merge_fragment(struct document *doc, const char *path, struct diag *d)
{
	size_t source = doc->nsources;
	struct diag found = { .code = "" };
	struct reader r = { .d = &found };
	int err = add_file(doc, path, d);

	if (err)
		return err;
	err = check_fragment(doc, source, &r);
	for (size_t k = 0; !err && k < sizeof(mergeable) / sizeof(mergeable[0]); k++)
		err = merge_key(doc, source, k, &r);
	if (err == -ENOMEM)
		return no_memory(d);
	if (err) {
		const struct document alone = { .sources = &doc->sources[source], .nsources = 1 };

		name_place(&alone, d, &found);
	}
	return err;
}

static int is_fragment(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return entry->d_name[0] != '.' && len > strlen(".json") &&
	       !strcmp(entry->d_name + len - strlen(".json"), ".json");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* The files of conf.d/ beside `path`. That there is no such directory is fine. */
static int merge_fragments(struct document *doc, const char *path, struct diag *d)
{
	const char *slash = strrchr(path, '/');
	struct dirent **entries = NULL;
	char dir[4096], file[sizeof(dir) + 300];
	int n, err = 0;

	n = snprintf(dir, sizeof(dir), "%.*sconf.d", slash ? (int)(slash + 1 - path) : 0, path);
	if (n >= (int)sizeof(dir))
		return cannot_read(d, -ENAMETOOLONG, path);
	n = scandir(dir, &entries, is_fragment, by_name);
	if (n < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : cannot_read(d, -errno, dir);
	if (n > MAX_FRAGMENTS)
		err = diag_set(d, E2BIG, "too_large", "", "%s holds %d files; at most %d are read",
			       dir, n, MAX_FRAGMENTS);
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%s", dir, entries[i]->d_name);
		if (!err)
			err = merge_fragment(doc, file, d);
		free(entries[i]);
	}
	free(entries);
	return err;
}

static int read_document(struct model **ret, const struct document *doc, struct diag *d)
{
	struct diag found = { .code = "" };
	struct model *m = model_new();
	struct reader r = { .model = m, .d = &found };
	int err;

	if (!m)
		return no_memory(d);
	err = schema_read(&r, &config_model, doc->sources[0].json, m);
	if (!err)
		err = model_validate(m, &found);
	if (err == -ENOMEM)
		no_memory(d);
	else if (err)
		name_place(doc, d, &found);
	if (err) {
		model_free(m);
		return err;
	}
	*ret = m;
	return 0;
}

int config_load(struct model **ret, const char *path, struct diag *d)
{
	struct document doc = { .nsources = 0 };
	int err = add_file(&doc, path, d);

	if (!err && json_object_is_type(doc.sources[0].json, json_type_object))
		err = merge_fragments(&doc, path, d);
	if (!err)
		err = read_document(ret, &doc, d);
	document_free(&doc);
	return err;
}

int config_parse(struct model **ret, const char *text, size_t len, const char *name, struct diag *d)
{
	struct document doc = { .nsources = 0 };
	char *copy = malloc(len ? len : 1);
	int err;

	if (!copy)
		return no_memory(d);
	memcpy(copy, text, len);
	err = add_source(&doc, name, copy, len, d);
	if (!err)
		err = read_document(ret, &doc, d);
	document_free(&doc);
	return err;
}

int config_parse_version(struct version *ret, struct json_object *j, const char *pointer,
			 struct diag *d)
{
	struct reader r = { .d = d };
	struct version v = { .nbackends = 0 };
	int err;

	schema_start_at(&r, pointer);
	err = schema_read(&r, &config_version, j, &v);
	if (err) {
		version_fini(&v);
		return err == -ENOMEM ? no_memory(d) : err;
	}
	config_version_defaults(&v, false);
	*ret = v;
	return 0;
}

int config_parse_strategy(struct strategy *ret, const char *name, struct json_object *j,
			  const char *pointer, struct diag *d)
{
	struct reader r = { .d = d };
	struct strategy s = { .nsteps = 0 };
	int err;

	schema_start_at(&r, pointer);
	if (!name_is_valid(name))
		return schema_complain(&r, "invalid_value", "this is no name for a strategy");
	snprintf(s.name, sizeof(s.name), "%s", name);
	err = schema_read(&r, &config_strategy, j, &s);
	if (!err)
		*ret = s;
	return err;
}

struct json_object *config_to_json(const struct model *m)
{
	return schema_write(&config_model, m);
}

int config_json(struct json_object **ret, const char *text, size_t len, const char *name,
		struct diag *d)
{
	return json_parse(ret, text, len, name, 0, d);
}
