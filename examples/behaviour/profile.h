#ifndef PROFILE_H
#define PROFILE_H

#include "tree.h"

/* A page that was looked at. */
struct visit {
	float age; /* in days */
	int words;
	int *word;
};

struct history {
	int count;
	struct visit *visit;
};

/* Reads a history, a line for each visit: its age in days, a tab, and the words of the page. Words that no category knows are left out.
 * Returns the number of the first bad line, or 0. */
int history_read(struct history *h, struct tree *t, FILE *f);

/* Sums up for each category how like it the pages were that were visited, recent ones counting more. */
void profile_history(const struct tree *t, const struct history *h, double *interest);

#endif
