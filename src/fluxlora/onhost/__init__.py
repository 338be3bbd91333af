"""Programs that run on the instance; standard library only, any python3 from 3.9 on."""
