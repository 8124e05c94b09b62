#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *grow(void *p, long size)
{
	p = realloc(p, size ? size : 1);
	if (!p) {
		fprintf(stderr, "behaviour: out of memory\n");
		exit(1);
	}
	return p;
}

static unsigned hash(const char *word, int length)
{
	unsigned h = 2166136261u;
	for (int i = 0; i < length; i++)
		h = (h ^ (unsigned char)word[i]) * 16777619u;
	return h;
}

static void enlarge(struct words *d)
{
	d->slots = d->slots ? d->slots * 2 : 1024;
	free(d->table);
	d->table = grow(NULL, d->slots * sizeof *d->table);
	memset(d->table, 0, d->slots * sizeof *d->table);
	d->word = grow(d->word, d->slots * sizeof *d->word);
	for (int i = 0; i < d->count; i++) {
		unsigned at = hash(d->word[i], strlen(d->word[i])) & (d->slots - 1);
		while (d->table[at])
			at = (at + 1) & (d->slots - 1);
		d->table[at] = i + 1;
	}
}

int words_number(struct words *d, const char *word, int length, int add)
{
	if (d->count * 2 >= d->slots)
		enlarge(d);
	unsigned at = hash(word, length) & (d->slots - 1);
	for (; d->table[at]; at = (at + 1) & (d->slots - 1)) {
		const char *known = d->word[d->table[at] - 1];
		if (!strncmp(known, word, length) && !known[length])
			return d->table[at] - 1;
	}
	if (!add)
		return -1;
	char *copy = grow(NULL, length + 1);
	memcpy(copy, word, length);
	copy[length] = 0;
	d->word[d->count] = copy;
	d->table[at] = ++d->count;
	return d->count - 1;
}
