"""From a text to sound: engines that are commands, their sound as it comes, players, and files of sound."""
