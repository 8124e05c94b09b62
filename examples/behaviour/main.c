/* behaviour CATEGORIES HISTORY: finds what someone is interested in, from the words of the pages that they visited. */
#include "profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { shown = 5 };

static FILE *open_or_exit(const char *path)
{
	FILE *f = fopen(path, "r");
	if (!f) {
		fprintf(stderr, "behaviour: %s: cannot be opened\n", path);
		exit(1);
	}
	return f;
}

static void refuse(const char *path, int line)
{
	if (line) {
		fprintf(stderr, "behaviour: %s: line %d is malformed\n", path, line);
		exit(1);
	}
}

static void print_top(const struct tree *t, const double *interest, int depth)
{
	char *taken = grow(NULL, t->count);
	memset(taken, 0, t->count);
	for (int rank = 1; rank <= shown; rank++) {
		int best = -1;
		for (int i = 0; i < t->count; i++)
			if (t->category[i].depth == depth && !taken[i] && (best < 0 || interest[i] > interest[best]))
				best = i;
		if (best < 0 || interest[best] <= 0)
			break;
		taken[best] = 1;
		printf("depth %d: %d. %s (%.4f)\n", depth, rank, t->category[best].name, interest[best]);
	}
	free(taken);
}

int main(int argc, char **argv)
{
	struct tree t;
	struct history h;
	if (argc != 3) {
		fprintf(stderr, "usage: behaviour CATEGORIES HISTORY\n");
		return 2;
	}
	FILE *f = open_or_exit(argv[1]);
	refuse(argv[1], tree_read(&t, f));
	fclose(f);
	tree_settle(&t);
	f = open_or_exit(argv[2]);
	refuse(argv[2], history_read(&h, &t, f));
	fclose(f);

	double *interest = grow(NULL, t.count * sizeof *interest);
	profile_history(&t, &h, interest);
	printf("%d visits, %d categories, %d words\n", h.count, t.count, t.words.count);
	for (int depth = 1; depth <= max_depth; depth++)
		print_top(&t, interest, depth);
	return 0;
}
