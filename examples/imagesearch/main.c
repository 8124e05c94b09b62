/* imagesearch NEEDLE FOLDER: looks for a picture in all photos of a folder, and prints where each photo is most like it. */
#include "search.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double enough = 0.8;
enum { max_needle = 256 }; /* so that the sums of products fit 32 bits */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int is_photo(const char *name)
{
	const char *dot = strrchr(name, '.');
	return dot && (!strcmp(dot, ".pgm") || !strcmp(dot, ".ppm"));
}

/* Returns the sorted names of the photos in a folder, or NULL. */
static char **list_photos(const char *folder, size_t *count)
{
	DIR *dir = opendir(folder);
	char **names = malloc(sizeof *names);
	struct dirent *e;
	*count = 0;
	if (!dir || !names)
		return NULL;
	while ((e = readdir(dir))) {
		if (!is_photo(e->d_name))
			continue;
		names = realloc(names, (*count + 1) * sizeof *names);
		if (!names || !(names[*count] = strdup(e->d_name)))
			return NULL;
		++*count;
	}
	closedir(dir);
	qsort(names, *count, sizeof *names, by_name);
	return names;
}

int main(int argc, char **argv)
{
	struct image needle;
	const char *why;
	size_t count, found = 0;
	int status = 0;
	if (argc != 3) {
		fprintf(stderr, "usage: imagesearch NEEDLE FOLDER\n");
		return 2;
	}
	if (!image_load(&needle, argv[1], &why)) {
		fprintf(stderr, "imagesearch: %s: %s\n", argv[1], why);
		return 1;
	}
	if (needle.width > max_needle || needle.height > max_needle) {
		fprintf(stderr, "imagesearch: %s: more than %d pixels wide or high\n", argv[1], max_needle);
		return 1;
	}
	char **names = list_photos(argv[2], &count);
	if (!names) {
		fprintf(stderr, "imagesearch: %s: cannot be read\n", argv[2]);
		return 1;
	}
	for (size_t i = 0; i < count; i++) {
		char path[4096];
		struct image photo;
		snprintf(path, sizeof path, "%s/%s", argv[2], names[i]);
		if (!image_load(&photo, path, &why)) {
			fprintf(stderr, "imagesearch: %s: %s\n", path, why);
			status = 1;
			continue;
		}
		struct match m = search_photo(&photo, &needle);
		if (m.score >= enough) {
			found++;
			printf("%s: found at %d,%d size %dx%d (score %.3f)\n", names[i], m.x, m.y, m.width, m.height, m.score);
		} else {
			printf("%s: not found (best %.3f at %d,%d)\n", names[i], m.score, m.x, m.y);
		}
		image_free(&photo);
	}
	printf("found in %zu of %zu photos\n", found, count);
	return status;
}
