/* An intrusive doubly linked list: the element carries its link, so that no operation can fail or allocate. */
#ifndef FB_BASE_LIST_H
#define FB_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct fb__link {
    struct fb__link *previous;
    struct fb__link *next;
};

/* The list's head is a link too; an element that is in no list has next == NULL. */
#define FB__CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

static inline void fb__list_init(struct fb__link *head)
{
    head->previous = head->next = head;
}
static inline bool fb__list_is_empty(const struct fb__link *head)
{
    return head->next == head;
}
/* Puts link in front of position (of the head: at the list's end). */
static inline void fb__list_insert_before(struct fb__link *position, struct fb__link *link)
{
    link->previous = position->previous;
    link->next = position;
    position->previous->next = link;
    position->previous = link;
}

static inline void fb__list_remove(struct fb__link *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
    link->previous = link->next = NULL;
}

/* Removes and returns the first element, NULL where there is none. */
static inline struct fb__link *fb__list_pop_first(struct fb__link *head)
{
    struct fb__link *first = head->next;
    if (first == head) return NULL;
    fb__list_remove(first);
    return first;
}

#endif
