"""A local stand-in for Fireworks AI and Google Cloud Storage, with faults.

It is a second, independent reading of the contracts and imports nothing from the client.

    kinds     what can go wrong, where, and with which fields
    script    faults as JSON: which exchange, which time, what goes wrong
    wire      Request in, Response out; ConnectionCut instead of an answer
    config    the switches of one world
    refusals  error answers of both services
    signing   signed URLs that expire and require their headers
    folder    the folder for objects; nothing is written outside it
    part      the file of an upload, rounded down to granules at a cut
    world     accounts, models, objects, sessions, counters, the report
    creation  what a create or an update body must look like
    control   the routes of the control plane, its key and rate limit
    call      one call to it                     models    verbs on models and accounts
    uploads   upload URLs and validation         documents how models are printed
    listing   pages, order, filters              seeding   models made long ago
    doors     who may talk to a port
    storage   signed URLs: start, plain PUT      session   the resumable session
    switchboard  report, faults and switches at run time
    faults    how a fault changes an exchange: request bodies and answers
    server    both ports on real sockets         adapter   both ports inside one process
"""
