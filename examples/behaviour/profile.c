#include "profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float half_life = 30; /* days */

int history_read(struct history *h, struct tree *t, FILE *f)
{
	static char line[1 << 16];
	static int number[1 << 15];
	memset(h, 0, sizeof *h);
	for (int n = 1; fgets(line, sizeof line, f); n++) {
		char *tab = strchr(line, '\t');
		if (!tab)
			return n;
		if (!(h->count & (h->count - 1)))
			h->visit = grow(h->visit, (h->count ? h->count * 2 : 1) * sizeof *h->visit);
		struct visit *v = &h->visit[h->count++];
		v->age = strtof(line, NULL);
		v->words = 0;
		for (char *word = strtok(tab + 1, " \r\n"); word; word = strtok(NULL, " \r\n")) {
			int w = words_number(&t->words, word, strlen(word), 0);
			if (w >= 0)
				number[v->words++] = w;
		}
		v->word = grow(NULL, v->words * sizeof *v->word);
		memcpy(v->word, number, v->words * sizeof *v->word);
	}
	return 0;
}

/* The cosine of the angle between a page, given as one weight for each word of the dictionary, and a category. */
static float similarity(const struct category *c, const float *page, float length)
{
	float dot = 0;
	for (int i = 0; i < c->terms; i++)
		dot += c->term[i].weight * page[c->term[i].word];
	return dot == 0 ? 0 : dot / (c->length * length);
}

static void add_visit(const struct tree *t, const struct visit *v, float *page, double *interest)
{
	float square = 0;
	for (int i = 0; i < v->words; i++)
		page[v->word[i]] += t->rarity[v->word[i]];
	for (int i = 0; i < v->words; i++)
		square += page[v->word[i]] * t->rarity[v->word[i]];
	if (square > 0) {
		double fresh = exp2(-v->age / half_life);
		float length = sqrtf(square);
		for (int i = 0; i < t->count; i++)
			interest[i] += fresh * similarity(&t->category[i], page, length);
	}
	for (int i = 0; i < v->words; i++)
		page[v->word[i]] = 0;
}

void profile_history(const struct tree *t, const struct history *h, double *interest)
{
	float *page = grow(NULL, t->words.count * sizeof *page);
	memset(page, 0, t->words.count * sizeof *page);
	memset(interest, 0, t->count * sizeof *interest);
	for (int i = 0; i < h->count; i++)
		add_visit(t, &h->visit[i], page, interest);
	free(page);
}
