module pion-under-test

go 1.20
