#include "tree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int find_parent(const struct tree *t, const char *name)
{
	const char *slash = strrchr(name, '/');
	if (!slash)
		return -1;
	for (int i = t->count - 1; i >= 0; i--)
		if (!strncmp(t->category[i].name, name, slash - name) && !t->category[i].name[slash - name])
			return i;
	return -2;
}

static void add_term(struct category *c, int word, float weight)
{
	for (int i = 0; i < c->terms; i++) {
		if (c->term[i].word == word) {
			c->term[i].weight += weight;
			return;
		}
	}
	if (!(c->terms & (c->terms - 1)))
		c->term = grow(c->term, (c->terms ? c->terms * 2 : 1) * sizeof *c->term);
	c->term[c->terms++] = (struct term){ word, weight };
}

static int read_category(struct tree *t, char *line)
{
	char *tab = strchr(line, '\t');
	if (!tab || tab == line)
		return 0;
	*tab = 0;
	if (!(t->count & (t->count - 1)))
		t->category = grow(t->category, (t->count ? t->count * 2 : 1) * sizeof *t->category);
	struct category *c = &t->category[t->count];
	memset(c, 0, sizeof *c);
	c->parent = find_parent(t, line);
	if (c->parent == -2)
		return 0;
	c->depth = c->parent < 0 ? 1 : t->category[c->parent].depth + 1;
	if (c->depth > max_depth)
		return 0;
	for (char *word = strtok(tab + 1, " \r\n"); word; word = strtok(NULL, " \r\n")) {
		char *colon = strchr(word, ':');
		float weight = colon ? strtof(colon + 1, NULL) : 1;
		if (weight > 0)
			add_term(c, words_number(&t->words, word, colon ? colon - word : (long)strlen(word), 1), weight);
	}
	c->name = grow(NULL, tab - line + 1);
	strcpy(c->name, line);
	t->count++;
	return 1;
}

int tree_read(struct tree *t, FILE *f)
{
	static char line[1 << 16];
	memset(t, 0, sizeof *t);
	for (int n = 1; fgets(line, sizeof line, f); n++)
		if (line[0] != '#' && line[0] != '\n' && !read_category(t, line))
			return n;
	return 0;
}

static int stronger(const void *a, const void *b)
{
	const struct term *x = a, *y = b;
	if (x->weight != y->weight)
		return x->weight < y->weight ? 1 : -1;
	return x->word - y->word;
}

static int by_word(const void *a, const void *b)
{
	return ((const struct term *)a)->word - ((const struct term *)b)->word;
}

void tree_settle(struct tree *t)
{
	int *known = grow(NULL, t->words.count * sizeof *known);
	memset(known, 0, t->words.count * sizeof *known);
	for (int i = t->count - 1; i >= 0; i--) {
		struct category *c = &t->category[i];
		qsort(c->term, c->terms, sizeof *c->term, stronger);
		if (c->terms > max_terms)
			c->terms = max_terms;
		for (int j = 0; j < c->terms; j++) {
			known[c->term[j].word]++;
			if (c->parent >= 0)
				add_term(&t->category[c->parent], c->term[j].word, c->term[j].weight * 0.5f);
		}
		qsort(c->term, c->terms, sizeof *c->term, by_word);
	}
	t->rarity = grow(NULL, t->words.count * sizeof *t->rarity);
	for (int i = 0; i < t->words.count; i++)
		t->rarity[i] = logf((1.0f + t->count) / (1.0f + known[i]));
	for (int i = 0; i < t->count; i++) {
		struct category *c = &t->category[i];
		float square = 0;
		for (int j = 0; j < c->terms; j++) {
			c->term[j].weight *= t->rarity[c->term[j].word];
			square += c->term[j].weight * c->term[j].weight;
		}
		c->length = sqrtf(square);
	}
	free(known);
}
