"""The one table of what the admin API can change: both kinds of tests go through it, and compare it with the API."""

from e2e.harness.mutations import of_clients, of_providers, of_resources, of_the_server, of_users, of_vault
from e2e.harness.mutations.mutation import Mutation

TABLE: tuple[Mutation, ...] = (
    *of_clients.MUTATIONS,
    *of_users.MUTATIONS,
    *of_resources.MUTATIONS,
    *of_providers.MUTATIONS,
    *of_vault.MUTATIONS,
    *of_the_server.MUTATIONS,
)
