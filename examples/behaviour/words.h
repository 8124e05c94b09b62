#ifndef WORDS_H
#define WORDS_H

/* A dictionary numbers the words it has met, from 0 on. */
struct words {
	int count, slots;
	char **word; /* by number */
	int *table;  /* open addressing: number + 1, or 0 */
};

/* Returns the number of a word of the given length; a new word gets the next one if add is set, else -1. */
int words_number(struct words *d, const char *word, int length, int add);

/* malloc and realloc that end the program when memory is out. */
void *grow(void *p, long size);

#endif
