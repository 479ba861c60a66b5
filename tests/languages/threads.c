/* Threads of the C library: mutexes, condition variables, semaphores, thread-local memory. */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <time.h>

#define WORKERS 4
#define PLAYERS 3

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
static long total, turn;
static __thread long mine;

static void *work(void *number)
{
    int i;

    for (i = 0; i < 5000; i++) {
        pthread_mutex_lock(&mutex);
        total += (long)number;
        mine++;
        pthread_mutex_unlock(&mutex);
    }
    return (void *)mine;
}

static void *play(void *number)
{
    int round;

    for (round = 0; round < 5; round++) {
        pthread_mutex_lock(&mutex);
        while (turn != (long)number)
            pthread_cond_wait(&condition, &mutex);
        printf("player %ld, round %d\n", turn, round);
        turn = (turn + 1) % PLAYERS;
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *post_late(void *unused)
{
    struct timespec duration = {0, 20000000};

    nanosleep(&duration, NULL);
    sem_post(&semaphore);
    return unused;
}

static int wait_in_vain(void)
{
    struct timespec until;
    int result;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    pthread_mutex_lock(&mutex);
    result = pthread_cond_timedwait(&condition, &mutex, &until);
    pthread_mutex_unlock(&mutex);
    return result;
}

int main(void)
{
    pthread_t threads[WORKERS];
    void *result;
    long i;

    for (i = 0; i < WORKERS; i++)
        pthread_create(&threads[i], NULL, work, (void *)(i + 1));
    for (i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], &result);
        printf("joined %ld: %ld\n", i, (long)result);
    }
    printf("total %ld, mine %ld\n", total, mine);
    for (i = 0; i < PLAYERS; i++)
        pthread_create(&threads[i], NULL, play, (void *)i);
    for (i = 0; i < PLAYERS; i++)
        pthread_join(threads[i], NULL);
    sem_init(&semaphore, 0, 0);
    pthread_create(&threads[0], NULL, post_late, NULL);
    sem_wait(&semaphore);
    pthread_join(threads[0], NULL);
    printf("timed wait: %d\n", wait_in_vain());
    fflush(stdout);
    pthread_create(&threads[0], NULL, work, (void *)1);
    pthread_exit(NULL); /* the process goes on with the other thread */
}
