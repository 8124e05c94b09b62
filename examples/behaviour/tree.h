#ifndef TREE_H
#define TREE_H

#include "words.h"

#include <stdio.h>

enum { max_depth = 8, max_terms = 96 };

/* How much a word says about a category. */
struct term {
	int word;
	float weight;
};

struct category {
	char *name; /* from the top, with slashes: sport/water/rowing */
	int parent; /* -1 at the top */
	int depth;  /* 1 at the top */
	int terms;
	struct term *term;
	float length; /* of the vector of weights */
};

/* Parents stand before their children. */
struct tree {
	int count;
	struct category *category;
	struct words words;
	float *rarity; /* of each word: high for one that few categories know */
};

/* Reads a tree, a line for each category: its name, a tab, and its words as WORD:WEIGHT. Returns the number of the first bad line, or 0. */
int tree_read(struct tree *t, FILE *f);

/* Adds to each category what stands below it, keeps its strongest words, and weighs rare words up. */
void tree_settle(struct tree *t);

#endif
