/* ordered.c - see ordered.h. One lock for all: it is taken three times a slot, and a slot is 100 us of work or more. */
#include "common/base/ordered.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/mem.h"

struct ordered {
    int slots, threads;
    size_t slot_size;
    uint8_t *ring;
    bool *finished; /* [slots] */
    /* running numbers; slot = number % slots; taken <= claimed <= given <= taken + slots */
    uint64_t given, claimed, taken;
    bool stop;
    void (*work)(void *slot, void *context);
    void *context;
    pthread_mutex_t lock;
    pthread_cond_t more, ready;
    pthread_t *thread;
};

static void *slot_at(struct ordered *o, uint64_t number) { return o->ring + number % (uint64_t)o->slots * o->slot_size; }

/* Takes one piece of work, with the lock held, which it gives up meanwhile. */
static void do_one(struct ordered *o) {
    uint64_t number = o->claimed++;
    pthread_mutex_unlock(&o->lock);
    o->work(slot_at(o, number), o->context);
    pthread_mutex_lock(&o->lock);
    o->finished[number % (uint64_t)o->slots] = true;
    if (number == o->taken)
        pthread_cond_signal(&o->ready);
}

static void *worker(void *argument) {
    struct ordered *o = argument;
    pthread_mutex_lock(&o->lock);
    while (!o->stop) {
        if (o->claimed < o->given)
            do_one(o);
        else
            pthread_cond_wait(&o->more, &o->lock);
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}

struct ordered *ordered_start(int threads, int slots, size_t slot_size, void (*work)(void *slot, void *context), void *context) {
    struct ordered *o = xcalloc(1, sizeof *o);
    o->slots = slots;
    o->slot_size = slot_size;
    o->ring = xcalloc((size_t)slots, slot_size);
    o->finished = xcalloc((size_t)slots, sizeof *o->finished);
    o->work = work;
    o->context = context;
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->more, NULL);
    pthread_cond_init(&o->ready, NULL);
    o->thread = xcalloc((size_t)threads, sizeof *o->thread);
    while (o->threads < threads && !pthread_create(&o->thread[o->threads], NULL, worker, o))
        o->threads++;
    return o;
}

void *ordered_room(struct ordered *o) { return o->given - o->taken < (uint64_t)o->slots ? slot_at(o, o->given) : NULL; }

void ordered_give(struct ordered *o) {
    pthread_mutex_lock(&o->lock);
    o->finished[o->given % (uint64_t)o->slots] = false;
    o->given++;
    pthread_cond_signal(&o->more);
    pthread_mutex_unlock(&o->lock);
}

void *ordered_take(struct ordered *o) {
    if (o->taken == o->given)
        return NULL;
    pthread_mutex_lock(&o->lock);
    while (!o->finished[o->taken % (uint64_t)o->slots]) {
        if (!o->threads && o->claimed < o->given)
            do_one(o);
        else
            pthread_cond_wait(&o->ready, &o->lock);
    }
    pthread_mutex_unlock(&o->lock);
    return slot_at(o, o->taken);
}

void ordered_done(struct ordered *o) {
    pthread_mutex_lock(&o->lock);
    o->taken++;
    pthread_mutex_unlock(&o->lock);
}

int ordered_busy(const struct ordered *o) { return (int)(o->given - o->taken); }

void ordered_stop(struct ordered *o, void (*free_slot)(void *slot)) {
    if (!o)
        return;
    pthread_mutex_lock(&o->lock);
    o->stop = true;
    pthread_cond_broadcast(&o->more);
    pthread_mutex_unlock(&o->lock);
    for (int i = 0; i < o->threads; i++)
        pthread_join(o->thread[i], NULL);
    for (int i = 0; free_slot && i < o->slots; i++)
        free_slot(o->ring + (size_t)i * o->slot_size);
    pthread_cond_destroy(&o->more);
    pthread_cond_destroy(&o->ready);
    pthread_mutex_destroy(&o->lock);
    free(o->thread);
    free(o->finished);
    free(o->ring);
    free(o);
}
